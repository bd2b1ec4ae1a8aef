"""Prints the book, built as one page, to a PDF: `make print`."""

import sys
from pathlib import Path

from built_book import chromium, new_tab, open_page

# Two pages are for the browser only: when each chapter ran as the pages were built, and the index.
# A link to the file of a picture would lead to this machine's folders. Folds open by themselves (paper.js).
FOR_PAPER = """() => {
    for (const page of ["chapters/status", "genindex"]) {
        document.getElementById(`document-${page}`).nextElementSibling.remove();
        document.querySelectorAll(`li:has(> [href="#document-${page}"])`).forEach(line => line.remove());
    }
    document.querySelectorAll("a.image-reference").forEach(link => link.removeAttribute("href"));
}"""

page, pdf = map(Path, sys.argv[1:])
with chromium() as browser, new_tab(browser) as tab:
    open_page(tab, page.resolve())
    tab.evaluate(FOR_PAPER)
    edge = "18mm"
    margin = {"top": edge, "right": edge, "bottom": edge, "left": edge}
    tab.pdf(path=pdf, format="A4", scale=0.75, margin=margin, print_background=True, outline=True, tagged=True)
print(f"The printed book is {pdf}.")
