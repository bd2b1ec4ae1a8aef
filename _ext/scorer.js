// What a search lists first, and what it shows of a page. Sphinx puts this file before its own search.
const FIRST = [
  [/^chapters\/0/, 400], // the chapters, then the landing page, then what explains words and symbols, then the library
  [/^intro$/, 300],
  [/^chapters\/(glossary|notation)$/, 200],
  [/^chapters\/(library|book)\//, 0],
];

const isName = /[_.]/.test(new URLSearchParams(location.search).get("q")); // whoever writes a name looks for it

var Scorer = {
  score: ([page, title, anchor, description, score]) =>
    score + (isName ? 100 * Boolean(description) : FIRST.find(([pages]) => pages.test(page))?.[1] ?? 100),
  // Sphinx's own numbers
  objNameMatch: 11,
  objPartialMatch: 6,
  objPrio: { 0: 15, 1: 5, 2: -5 },
  objPrioDefault: 0,
  title: 15,
  partialTitle: 7,
  term: 5,
  partialTerm: 2,
};

// The lines of a page that a result shows hold no source of a formula, and nothing of what only a browser runs.
document.addEventListener("DOMContentLoaded", () => {
  const toText = Search.htmlToText;
  Search.htmlToText = (source, anchor) => {
    const page = new DOMParser().parseFromString(source, "text/html");
    page.querySelectorAll(".math").forEach((formula) => (formula.textContent = "…"));
    page.querySelectorAll("p.symbols, .prev-next-area, .cell_input").forEach((part) => part.remove());
    return toText(page.documentElement.outerHTML, anchor);
  };
});
