// What scrolls sideways can be scrolled by keyboard, and fades where there is more to see. The theme sees to the first for
// code, but for tables not in all of its versions, and formulas are set too late for it.
const SCROLLING =
  "mjx-container[display], .pst-scrollable-table-container, div.highlight > pre";

const fade = (part) =>
  part.classList.toggle("more", part.scrollLeft + part.clientWidth < part.scrollWidth - 1);

const reach = () =>
  document.querySelectorAll(SCROLLING).forEach((part) => {
    if (part.scrollWidth > part.clientWidth) part.tabIndex = 0;
    else part.removeAttribute("tabindex");
    fade(part);
  });

// A slider says what it chooses and which pane is chosen. Its own handle has no name, and counts panes instead.
const nameSliders = () =>
  document.querySelectorAll(".widget-slider .noUi-handle:not([aria-label])").forEach((handle) => {
    const [label, readout] = [".widget-label", ".widget-readout"].map((part) =>
      handle.closest(".widget-slider").querySelector(part),
    );
    const say = () => handle.setAttribute("aria-valuetext", readout.textContent);
    handle.setAttribute("aria-label", label.textContent);
    new MutationObserver(say).observe(readout, { childList: true, characterData: true, subtree: true });
    say();
  });

// In the contents, what unfolds the pages below a page says so; it is no more than an arrow.
const nameFolds = () =>
  document.querySelectorAll(".bd-links li.has-children > details > summary").forEach((fold) => {
    const page = fold.closest("li").querySelector("a").textContent.trim();
    fold.setAttribute("aria-label", `Pages below ${page}`);
  });

window.addEventListener("load", () => {
  nameFolds();
  new MutationObserver(nameSliders).observe(document.body, { childList: true, subtree: true });
  window.addEventListener("resize", reach);
  document.addEventListener("toggle", reach, true); // what was folded had no width
  document.addEventListener("scroll", (event) => event.target.matches?.(SCROLLING) && fade(event.target), true);
  reach();
  window.MathJax?.startup?.promise.then(reach);
});

// The picture that is offered is that of the pane that is shown.
document.addEventListener("click", (event) => {
  const link = event.target.closest?.("figure a.png");
  if (!link) return;
  const shown = [...link.closest("figure").querySelectorAll("img")].find((image) => image.offsetParent !== null);
  if (shown) link.href = shown.src;
});
