"""Finishes the book for e-readers that Sphinx has built; links it and the PDF from the landing page: `make print`.

E-readers run no scripts, so formulas become pictures (SVG), set by the book's own MathJax in Chromium; folds are open;
style sheets and pictures that only a browser needs are left out. The same browser writes every page as XHTML.
"""

import re
import shutil
import sys
import zipfile
from pathlib import Path

from built_book import HTML, chromium, new_tab

MATHJAX = Path(__file__).resolve().parent.parent / "_vendor" / "vendor" / "tex-svg-full.js"
STYLES = "_static/epub.css", "_static/pygments.css"
STYLE = """
img, svg { max-width: 100%; }
img { height: auto; }
div.math { text-align: center; margin: 0.8em 0; }
pre { white-space: pre-wrap; font-size: 0.8em; }
table { font-size: 0.8em; border-collapse: collapse; }
th, td { padding: 0.2em 0.4em; border-bottom: 1px solid #999; text-align: left; vertical-align: top; }
details, .admonition, .sd-card { margin: 1em 0; padding-left: 0.8em; border-left: 0.2em solid #999; }
summary { font-weight: bold; }
.highlight { background: #f5f5f5; }
.brackets::before, .brackets::after { content: none !important; }
a.term { color: inherit; }
p.symbols { font-size: 0.8em; text-align: right; }
.visually-hidden, .column { display: none; }
"""
SET_UP = 'window.MathJax = {startup: {typeset: false}, svg: {fontCache: "none"}}'
REWRITE = r"""([source, page, styles, style, pages]) => {
    let book = new DOMParser().parseFromString(source, "application/xhtml+xml");
    if (book.querySelector("parsererror")) book = new DOMParser().parseFromString(source, "text/html");
    const make = (name) => book.createElementNS("http://www.w3.org/1999/xhtml", name);
    const every = (which, change) => book.querySelectorAll(which).forEach(change);
    const inside = (link) => new URL(link, `https://book/${page}`).pathname.slice(1);
    every("script, button, input, a.headerlink", (part) => part.remove());
    every('meta[name="viewport"]', (part) => part.remove());
    every('link[rel="stylesheet"]', (link) => styles.includes(inside(link.getAttribute("href"))) || link.remove());
    book.querySelector("head").append(Object.assign(make("style"), {textContent: style}));
    every("picture > source", (narrow) => narrow.setAttribute("type", "image/png"));
    every("details", (fold) => { fold.removeAttribute("name"); fold.setAttribute("open", "open"); });
    every("a[href]", (link) => {
        const [to, gone] = [link.getAttribute("href"), () => link.removeAttribute("href")];
        if (to.startsWith("#") && !book.getElementById(to.slice(1))) gone();
        if (!to.startsWith("#") && !to.includes(":") && !pages.includes(inside(to))) gone();
    });
    every("span.math, div.math", (formula) => {
        for (const text of [...formula.childNodes].filter((part) => part.nodeType === Node.TEXT_NODE)) {
            const tex = text.data.match(/^\s*\\[(\[]([^]*)\\[)\]]\s*$/)?.[1];
            if (!tex) continue;
            const picture = MathJax.tex2svg(tex, {display: formula.matches("div")}).querySelector("svg");
            if (picture.querySelector("[data-mjx-error], [data-mml-node=merror]")) throw new Error(`formula: ${tex}`);
            for (const part of [picture, ...picture.querySelectorAll("*")])
                [...part.attributes].filter(({name}) => /^(data-|focusable)/.test(name))
                                    .forEach(({name}) => part.removeAttribute(name));
            picture.setAttribute("aria-label", tex.trim());
            text.replaceWith(book.importNode(picture, true));
        }
    });
    return new XMLSerializer().serializeToString(book);
}"""


def pages_of(package):
    """The pages that the list of a book's contents names."""
    return re.findall(r'href="([^"]+\.xhtml)"', package)


def rewrite(folder, pages):
    """Make every page fit for e-readers, in place."""
    with chromium() as browser, new_tab(browser) as tab:
        tab.add_script_tag(content=SET_UP)
        tab.add_script_tag(path=MATHJAX)
        tab.evaluate("() => MathJax.startup.promise")
        for page in pages:
            source = (folder / page).read_text(encoding="utf-8")
            made = tab.evaluate(REWRITE, [source, page, STYLES, STYLE, pages])
            (folder / page).write_text(made, encoding="utf-8")


def contents(package, texts):
    """The list of the book's contents, without what no page uses: ``texts`` are pages and style sheets by name."""
    shown = "".join(texts.values())
    kept = []
    for line in package.splitlines():
        name = re.search(r'href="([^"]+)"', line)
        if "<item " in line and name:
            if "<svg" in texts.get(name[1], "") and "properties" not in line:
                line = line.replace(" />", ' properties="svg" />')
            used = name[1].endswith((".xhtml", ".ncx")) or name[1] in STYLES or Path(name[1]).name in shown
            kept += [line] * used
        elif "<itemref " in line:  # Sphinx names the first page twice, and the index of modules, which it left out
            known = re.search('idref="([^"]+)"', line)[1]
            kept += [line] * (f' id="{known}"' in package and line not in kept)
        else:
            kept.append(line)
    return "\n".join(kept) + "\n"


def pack(folder, package, path):
    """Write the book's one file: a ZIP whose first entry says, uncompressed, what it is."""
    files = ["META-INF/container.xml", "content.opf", *re.findall(r'<item [^>]*href="([^"]+)"', package)]
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as book:
        book.write(folder / "mimetype", "mimetype", zipfile.ZIP_STORED)
        for name in files:
            book.write(folder / name, name)


def link(*files, html=HTML):
    """Put the files beside the built pages, if there are any, and a link to each on the first of them."""
    landing = html / "intro.html"
    if not landing.exists():
        return
    links = []
    for path in files:
        shutil.copy(path, html)
        kind, size = path.suffix[1:].upper(), path.stat().st_size / 1e6
        links.append(f'<a href="{path.name}">{kind}</a> ({size:.0f} MB)')
    text = landing.read_text(encoding="utf-8")
    said = f'<div id="downloads"><p>On paper and for e-readers: {", ".join(links)}.</p></div>'
    text = re.sub(r'<div id="downloads">.*?</div>', lambda _: said, text, flags=re.DOTALL)
    landing.write_text(text, encoding="utf-8")


def main(folder, path, pdf):
    """From Sphinx's folder to the file, and links to it and to the PDF."""
    package = (folder / "content.opf").read_text(encoding="utf-8")
    pages = pages_of(package)
    rewrite(folder, [page for page in pages if page != "nav.xhtml"])
    texts = {name: (folder / name).read_text(encoding="utf-8") for name in (*pages, *STYLES)}
    package = contents(package, texts)
    (folder / "content.opf").write_text(package, encoding="utf-8")
    pack(folder, package, path)
    link(pdf, path)
    print(f"The book for e-readers is {path}.")


if __name__ == "__main__":
    main(*map(Path, sys.argv[1:]))
