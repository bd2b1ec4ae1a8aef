"""Prints one built page to a PDF: `make print`."""

import sys
from pathlib import Path

from built_book import chromium, new_tab, open_page

page, pdf = map(Path, sys.argv[1:])
with chromium() as browser, new_tab(browser) as tab:
    open_page(tab, page.resolve())
    edge = "18mm"
    margin = {"top": edge, "right": edge, "bottom": edge, "left": edge}
    tab.pdf(path=pdf, format="A4", margin=margin, print_background=True, outline=True, tagged=True)
print(f"The printed book is {pdf}.")
