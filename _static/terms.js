// A term shows its definition to all: where the mouse rests, where the keyboard is, and at the first tap of a finger,
// while the second follows the link. Without this script the browser shows it to the mouse alone.
window.addEventListener("DOMContentLoaded", () => {
  const box = document.createElement("div");
  box.id = "definition";
  box.setAttribute("role", "tooltip");
  box.hidden = true;
  document.body.append(box);
  let shown = null;
  let firstTap = null;
  let leaving = 0;

  const hide = () => {
    clearTimeout(leaving);
    shown?.removeAttribute("aria-describedby");
    box.hidden = true;
    shown = null;
  };

  const hideSoon = () => (leaving = setTimeout(hide, 250)); // the mouse may go on into the box

  const show = (link) => {
    clearTimeout(leaving);
    if (shown === link) return;
    hide();
    shown = link;
    box.textContent = link.dataset.definition;
    box.hidden = false;
    link.setAttribute("aria-describedby", box.id);
    const at = link.getClientRects()[0];
    const left = Math.max(8, Math.min(at.left, document.documentElement.clientWidth - box.offsetWidth - 8));
    box.style.left = `${left + scrollX}px`;
    box.style.top = `${at.bottom + scrollY + 6}px`;
  };

  document.querySelectorAll("a.term[title]").forEach((link) => {
    link.dataset.definition = link.title;
    link.removeAttribute("title");
    link.addEventListener("focus", () => show(link));
    link.addEventListener("blur", hide);
    link.addEventListener("pointerenter", (event) => event.pointerType === "mouse" && show(link));
    link.addEventListener("pointerleave", (event) => event.pointerType === "mouse" && hideSoon());
    link.addEventListener("pointerdown", (event) => {
      firstTap = event.pointerType !== "mouse" && shown !== link ? link : null;
    });
    link.addEventListener("click", (event) => {
      if (firstTap !== link) return;
      event.preventDefault();
      firstTap = null;
      show(link);
    });
  });
  box.addEventListener("pointerenter", () => clearTimeout(leaving));
  box.addEventListener("pointerleave", (event) => event.pointerType === "mouse" && hide());
  document.addEventListener("keydown", (event) => event.key === "Escape" && hide());
  document.addEventListener("pointerdown", (event) => event.target !== shown && !shown?.contains(event.target) && hide());
});
