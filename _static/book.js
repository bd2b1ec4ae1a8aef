// What scrolls sideways can be scrolled by keyboard. For code the theme sees to that, but for tables not in all of its
// versions; formulas are set too late for it, and figures scroll on a phone only.
const reach = () =>
  document.querySelectorAll("mjx-container[display], div.cell_output, .pst-scrollable-table-container").forEach((part) => {
    if (part.scrollWidth > part.clientWidth) part.tabIndex = 0;
    else part.removeAttribute("tabindex");
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

window.addEventListener("load", () => {
  new MutationObserver(nameSliders).observe(document.body, { childList: true, subtree: true });
  window.addEventListener("resize", reach);
  reach();
  window.MathJax?.startup?.promise.then(reach);
});
