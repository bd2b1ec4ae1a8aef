// Nobody can unfold anything on paper: what is folded opens before the page is printed, and closes again afterwards.
let unfolded = [];

window.addEventListener("beforeprint", () => {
  unfolded = [...document.querySelectorAll("details:not([open])")].map((fold) => [fold, fold.getAttribute("name")]);
  unfolded.forEach(([fold]) => {
    fold.removeAttribute("name"); // those that share one open one at a time
    fold.open = true;
  });
});

window.addEventListener("afterprint", () => {
  unfolded.forEach(([fold, name]) => {
    fold.open = false;
    if (name !== null) fold.setAttribute("name", name);
  });
  unfolded = [];
});
