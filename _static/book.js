// Formulas that scroll sideways can be scrolled by keyboard. For code and tables the theme sees to that; formulas are set
// too late for it.
window.addEventListener("load", () => {
  const reach = () =>
    document.querySelectorAll("mjx-container[display]").forEach((formula) => {
      if (formula.scrollWidth > formula.clientWidth) formula.tabIndex = 0;
      else formula.removeAttribute("tabindex");
    });
  window.addEventListener("resize", reach);
  window.MathJax?.startup?.promise.then(reach);
});
