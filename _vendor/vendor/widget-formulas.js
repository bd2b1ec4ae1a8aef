// The widgets of embed.js ask for formulas in the language of MathJax 2, which MathJax 3 does not speak.
// This translates. It must be loaded before embed.js, which draws its widgets at the same event.
window.addEventListener("load", () => {
  const mathjax = window.MathJax;
  if (mathjax && mathjax.startup && !mathjax.Hub) {
    const typeset = ([, , element]) => mathjax.startup.promise.then(() => mathjax.typesetPromise([element]));
    mathjax.Hub = { Queue: (...requests) => requests.forEach(typeset) };
  }
});
