// What scrolls sideways can be scrolled by keyboard. The theme sees to code and tables when the window changes its size;
// formulas are set too late for it, and what a fold hides has no size before it is opened.
window.addEventListener("load", () => {
  const reach = () =>
    document.querySelectorAll("mjx-container[display]").forEach((formula) => {
      if (formula.scrollWidth > formula.clientWidth) formula.tabIndex = 0;
      else formula.removeAttribute("tabindex");
    });
  window.addEventListener("resize", reach);
  document.addEventListener("toggle", () => window.dispatchEvent(new Event("resize")), true);
  window.MathJax?.startup?.promise.then(reach);
});
