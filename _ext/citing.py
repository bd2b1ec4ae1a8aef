"""Sphinx extension: who wrote the book, how it is cited, and what a page tells search engines and link previews.

All of it comes from ``CITATION.cff`` and from the page itself. An address is told once the book has one
(``html: baseurl`` in ``_config.yml``).
"""

import html
from pathlib import Path

import yaml
from docutils import nodes

CITATION = Path(__file__).resolve().parent.parent / "CITATION.cff"
LENGTH = 160  # characters of a description, of which search engines show no more
UNSAID = nodes.math, nodes.footnote_reference, nodes.raw  # what a description leaves out of a sentence
OVERVIEW = "_images/overview.png"


def book():
    """Title, year and authors of the book, authors as they are cited."""
    about = yaml.safe_load(CITATION.read_text(encoding="utf-8"))
    names = [one.get("name") or f"{one['given-names']} {one['family-names']}" for one in about["authors"]]
    return about["title"], about["date-released"].year, names


def authors():
    """The line with the authors, in HTML: its words are no terms of the glossary."""
    return f'<p class="authors">By {html.escape(", ".join(book()[2]))}</p>'


def cite():
    """How to cite the book: a sentence, and an entry for BibTeX, in Markdown."""
    title, year, names = book()
    text = yaml.safe_load(CITATION.read_text(encoding="utf-8"))
    address = text.get("url") or text.get("repository-code") or ""
    fields = {"title": f"{{{title}}}", "author": " and ".join(f"{{{name}}}" for name in names), "year": year}
    fields |= {"version": text["version"]} | ({"url": address} if address else {})
    entry = ",\n".join(f"  {name} = {{{value}}}" for name, value in fields.items())
    said = f"{', '.join(names)} ({year}). *{title}.* Version {text['version']}. {address}".rstrip()
    return f"{said}\n\n```bibtex\n@book{{winningtickets{year},\n{entry}\n}}\n```"


def sentence(paragraph):
    """The text of a paragraph without formulas and marks of footnotes."""
    said = (text for text in paragraph.findall(nodes.Text) if not any(isinstance(up, UNSAID) for up in above(text)))
    return " ".join("".join(said).split())


def above(node):
    """The nodes that a node is in, from the nearest outwards."""
    while node := node.parent:
        yield node


def description(doctree):
    """How a page begins, in at most LENGTH characters: whole words, from paragraphs that are in no box."""
    boxes = nodes.container, nodes.table, nodes.footnote, nodes.Admonition
    text = ""
    for paragraph in doctree.findall(nodes.paragraph):
        if len(text) < LENGTH and not any(isinstance(up, boxes) for up in above(paragraph)):
            text = f"{text} {sentence(paragraph)}".strip()
    return text if len(text) <= LENGTH else text[: LENGTH - 1].rsplit(" ", 1)[0].rstrip(",.;:") + "…"


def tags(page, title, said, base, root):
    """What stands in a page's head: ``[(attribute, name, content)]``."""
    name, year, names = book()
    kind = "website" if page == root else "article"
    found = [("name", "description", said), ("property", "og:title", title), ("property", "og:description", said)]
    found += [("property", "og:type", kind), ("property", "og:site_name", name)]
    if base:
        found += [("property", "og:url", f"{base}{page}.html"), ("property", "og:image", base + OVERVIEW)]
    if page == root or page.startswith("chapters/0"):
        found += [("name", "citation_title", name if page == root else title)]
        found += [("name", "citation_inbook_title", name)] * (page != root)
        found += [("name", "citation_author", author) for author in names]
        found += [("name", "citation_publication_date", year), ("name", "citation_language", "en")]
        found += [("name", "citation_public_url", f"{base}{page}.html")] if base else []
    return found


def describe(app, page, template, context, doctree):
    """Put a page's tags into its head."""
    if app.builder.name == "html" and doctree:
        title = app.env.titles[page].astext()
        found = tags(page, title, description(doctree), app.config.html_baseurl, app.config.root_doc)
        lines = [
            f'<meta {kind}="{name}" content="{html.escape(str(value))}" />' for kind, name, value in found if value
        ]
        context["metatags"] = "\n".join([context.get("metatags", ""), *lines])


def setup(app):
    """When a page is written."""
    app.connect("html-page-context", describe)
    return {"parallel_read_safe": True}
