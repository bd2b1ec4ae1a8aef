// Commit, then show. A question is a paragraph that is followed by choices (`details.choice`, see CONTRIBUTING.md), by
// an answer (`details.answer`, see _ext/predictions.py), or by both. Without this script they are plain folds. With it
// the reader chooses first; then the choices unfold what they say, and the answer follows. Nothing leaves the browser.
(() => {
  const ALL = "show all answers";
  const HERE = location.pathname.split("/").pop();

  // A page from the disk, or in a private window, may not be allowed to remember.
  const remembered = (key) => {
    try {
      return localStorage.getItem(key);
    } catch {
      return null;
    }
  };
  const remember = (key, value) => {
    try {
      if (value === null) localStorage.removeItem(key);
      else localStorage.setItem(key, value);
    } catch {}
  };

  const make = (tag, attributes = {}, ...children) => {
    const element = Object.assign(document.createElement(tag), attributes);
    element.append(...children);
    return element;
  };

  const questions = [];
  let all = remembered(ALL) === "yes";
  let printing = false;
  let count = 0;

  class Question {
    constructor(text, choices, answer) {
      Object.assign(this, { choices, answer, chosen: null, shown: false });
      this.kind = answer ? "prediction" : "answer";
      this.exclusive = choices[0]?.getAttribute("name");
      this.texts = choices.map((choice) => choice.querySelector("summary").textContent.trim());
      this.key = `${HERE}: ${text.textContent.trim().slice(0, 80)}`;
      text.id ||= `question-${++count}`;
      this.form = make("fieldset", { className: "commit" }, make("legend", { textContent: `Your ${this.kind}` }));
      this.form.setAttribute("aria-describedby", text.id);
      this.show = make("button", { type: "button", textContent: "Show the answer", onclick: () => this.commit() });
      this.inputs = choices.length ? this.radios() : this.words();
      this.form.append(this.show);
      this.said = make("p", { className: "chosen", role: "status" });
      text.after(this.form);
      (choices.at(-1) ?? this.form).after(this.said);
      answer?.addEventListener("toggle", () => answer.open && this.reveal()); // by a search in the page, or a link
      const before = remembered(this.key);
      if (before !== null && (!choices.length || this.texts.includes(before))) this.settle(before);
      this.draw();
    }

    radios() {
      this.show.disabled = true;
      return this.texts.map((text, number) => {
        const input = make("input", { type: "radio", name: `${this.key} ${this.exclusive}`, value: number });
        input.onchange = () => (this.show.disabled = false);
        this.form.append(make("label", {}, input, make("span", { textContent: text })));
        return input;
      });
    }

    words() {
      const input = make("input", { type: "text", maxLength: 200, autocomplete: "off" });
      input.onkeydown = (event) => {
        if (event.key !== "Enter") return;
        event.preventDefault(); // or it would go on to the answer, which has the focus by then, and fold it
        this.commit();
      };
      this.form.append(make("label", {}, make("span", { textContent: "In a few words" }), input));
      return [input];
    }

    commit() {
      const checked = this.inputs.findIndex((input) => input.checked);
      this.settle(this.choices.length ? this.texts[checked] : this.inputs[0].value.trim());
      remember(this.key, this.chosen);
      this.draw();
      (this.choices[this.texts.indexOf(this.chosen)] ?? this.answer).querySelector("summary").focus();
    }

    settle(text) {
      Object.assign(this, { chosen: text, shown: true });
    }

    reveal() {
      if (this.shown || all || printing) return;
      this.shown = true;
      this.draw();
    }

    again() {
      Object.assign(this, { chosen: null, shown: false });
      remember(this.key, null);
      this.inputs.forEach((input) => (input.checked = false));
      this.show.disabled = this.choices.length > 0;
      this.draw();
      this.inputs[0].focus();
    }

    draw() {
      const open = all || printing;
      const shown = open || this.shown;
      this.form.hidden = shown;
      this.choices.forEach((choice, number) => {
        const mine = shown && this.texts[number] === this.chosen;
        choice.hidden = !shown;
        if (open) choice.removeAttribute("name"); // those that share one open one at a time
        else choice.setAttribute("name", this.exclusive);
        choice.open = open || mine;
        choice.classList.toggle("mine", mine);
      });
      if (this.answer) {
        this.answer.open = shown;
        this.answer.classList.toggle("waiting", !shown);
        this.answer.querySelector("summary").textContent = "Answer";
      }
      this.said.replaceChildren();
      if (this.chosen) this.said.append(`You ${this.choices.length ? "chose" : "predicted"}: “${this.chosen}” `);
      if (this.shown && !open)
        this.said.append(make("button", { type: "button", textContent: "Choose again", onclick: () => this.again() }));
    }
  }

  const folds = () => document.querySelectorAll("article details.answer");

  const drawAll = () => {
    questions.forEach((question) => question.draw());
    // Answers without a question of their own have no state but that of the fold.
    folds().forEach((fold) => questions.some((question) => question.answer === fold) || (fold.open = all || printing));
  };

  const addSwitch = () => {
    const button = make("button", { type: "button", className: "all-answers", role: "switch", textContent: "Show all answers" });
    const say = () => (button.ariaChecked = all);
    button.onclick = () => {
      all = !all;
      remember(ALL, all ? "yes" : null);
      say();
      drawAll();
    };
    say();
    document.querySelector("article h1").after(button);
  };

  // What a search or a link leads to must not stay folded.
  const revealAt = (element) =>
    element &&
    questions.forEach((question) => {
      if ([question.answer, ...question.choices].some((fold) => fold?.contains(element))) {
        question.reveal();
        element.scrollIntoView();
      }
    });
  const target = () => revealAt(document.getElementById(decodeURIComponent(location.hash.slice(1))));

  // On paper everything is unfolded, solutions too, and folded again afterwards.
  let unfolded = [];
  const print = (starts) => {
    if (starts === printing) return;
    printing = starts;
    drawAll();
    if (starts) unfolded = [...document.querySelectorAll("article details:not([open])")];
    unfolded.forEach((fold) => (fold.open = starts));
  };

  const find = () => {
    const choices = [...document.querySelectorAll("article details.choice")];
    const firsts = choices.filter((choice) => !choice.previousElementSibling?.matches("details.choice"));
    const open = [...document.querySelectorAll("article p.prediction + details.answer")];
    const upgrade = (first) => {
      const group = [];
      let next = first;
      for (; next?.matches("details.choice"); next = next.nextElementSibling) group.push(next);
      questions.push(new Question(first.previousElementSibling, group, next?.matches("details.answer") ? next : null));
    };
    [...firsts, ...open].forEach(upgrade);
    if (questions.length || folds().length) {
      addSwitch();
      drawAll();
    }
  };

  const start = () => {
    find();
    target();
    window.addEventListener("hashchange", target);
    window.addEventListener("load", () => revealAt(document.querySelector("article span.highlighted")));
    window.addEventListener("beforeprint", () => print(true));
    window.addEventListener("afterprint", () => print(false));
    const paper = matchMedia("print");
    paper.addEventListener("change", () => print(paper.matches));
    print(paper.matches);
  };
  if (document.readyState === "loading") document.addEventListener("DOMContentLoaded", start);
  else start();
})();
