"""Sphinx extension: what a page's words and symbols mean, within reach of the reader.

On each page the first mention of a term links to its entry in the glossary, shows its definition, and is an entry of
the index; each displayed formula is followed by a link to the section of the page Notation that explains its symbols.
The notebooks hold no markup for this, because they are also read where it would show as noise.
"""

import re
from pathlib import Path

from docutils import nodes
from sphinx import addnodes
from sphinx.transforms import SphinxTransform
from sphinx.util.nodes import make_refnode

GLOSSARY, NOTATION = "chapters/glossary", "chapters/notation"
CODE = "chapters/api", "chapters/library/", "chapters/lotterybook", "chapters/book/"
REFERENCE = GLOSSARY, NOTATION, *CODE, "chapters/status"  # pages that explain, or that nobody wrote
PROSE = nodes.paragraph, nodes.emphasis, nodes.strong
NOT_PROSE = nodes.container, nodes.footnote, nodes.reference, nodes.table  # a container holds what a cell shows


def definitions(text):
    """The entries of a glossary by their first names: ``{name: (all names, definition in plain text)}``."""
    entries = {}
    for entry in re.search(r"```\{glossary\}\n(.*?)\n```", text, re.DOTALL)[1].split("\n\n"):
        lines = entry.splitlines()
        names = [line for line in lines if not line.startswith(" ")]
        definition = " ".join(line.strip() for line in lines[len(names) :])
        entries[names[0]] = names, re.sub("[`*$]", "", definition)
    return entries


def pattern(name):
    """A regular expression for a name and its plural. In abbreviations alone capitals matter."""
    words = re.escape(name).replace(r"\ ", r"\s+").replace("'", "['’]")
    words = words[:-1] + "(?:y|ies)" if words.endswith("y") else words + "s?"
    return words if name.isupper() else f"(?i:{words})"


def mentions(text, entries):
    """Where a text names entries, as ``[(match, first name)]``: whole words, and the longest name that fits."""
    pairs = [(name, first) for first, (names, _) in entries.items() for name in names]
    pairs.sort(key=lambda pair: len(pair[0]), reverse=True)
    anything = "|".join(f"({pattern(name)})" for name, _ in pairs)
    found = re.finditer(rf"(?<![\w-])(?:{anything})(?![\w-])", text)
    return [(match, pairs[match.lastindex - 1][1]) for match in found]


def symbols(formula):
    """The letters and commands of a formula."""
    return set(re.findall(r"\\?[A-Za-z]+", formula))


def section(formula, text):
    """The heading of the section whose formulas share the most symbols with a formula; empty if there is not one."""
    shared = []
    for part in text.split("\n## ")[1:]:
        heading, _, content = part.partition("\n")
        known = symbols(" ".join(re.findall(r"\$([^$]+)\$", content)))
        shared.append((len(symbols(formula) & known), heading))
    *_, second, first = sorted(shared)
    return first[1] if first[0] > second[0] else ""


def is_prose(text):
    """Whether a text stands in a paragraph or a list, and for itself."""
    node, inside = text, []
    while node := node.parent:
        inside.append(node)
    return isinstance(inside[0], PROSE) and not any(isinstance(node, NOT_PROSE) for node in inside)


class Explain(SphinxTransform):
    """Puts the links, and the entries of the index, into a page."""

    default_priority = 840  # after smart quotes (750), before the index is collected (850)

    def apply(self):
        """Change the page, unless it is one that explains. The index is one of terms: functions would drown them."""
        if self.env.docname.startswith(CODE):
            for index in self.document.findall(addnodes.index):
                index["entries"] = []
        if self.env.docname.startswith(REFERENCE):
            return
        glossary, notation = (Path(self.env.doc2path(page)) for page in (GLOSSARY, NOTATION))
        self.env.note_dependency(str(glossary))
        self.env.note_dependency(str(notation))
        self.explain_terms(definitions(glossary.read_text(encoding="utf-8")))
        self.explain_symbols(notation.read_text(encoding="utf-8"))

    def explain_terms(self, entries):
        """Link the first mention of each term in running text."""
        page, seen = next(self.document.findall(nodes.title)).astext(), set()
        for text in filter(is_prose, list(self.document.findall(nodes.Text))):
            parts, end = [], 0
            for match, name in mentions(text, entries):
                if name not in seen:
                    seen.add(name)
                    anchor = nodes.make_id(f"mention-{name}")
                    word = nodes.inline("", match[0], ids=[anchor])
                    link = addnodes.pending_xref("", word, reftype="term", reftarget=name, title=entries[name][1])
                    used = [("single", f"{each}; {page}", anchor, "", None) for each in entries[name][0]]
                    index = addnodes.index(entries=used)
                    parts += [nodes.Text(text[end : match.start()]), index, link]
                    end = match.end()
            text.parent.replace(text, [*parts, nodes.Text(text[end:])])

    def explain_symbols(self, notation):
        """Put a link after each displayed formula. Read alone it also says where it leads."""
        for formula in list(self.document.findall(nodes.math_block)):
            heading = section(formula.astext(), notation)
            unseen = nodes.inline("", f": {heading or 'Notation'}", classes=["visually-hidden"])
            link = addnodes.pending_xref("", nodes.inline("", "symbols", unseen), reftype="symbols", reftarget=heading)
            formula.parent.insert(formula.parent.index(formula) + 1, nodes.paragraph("", "", link, classes=["symbols"]))


def resolve(app, env, node, content):
    """Make a link of what `Explain` left, once all pages are read."""
    if node["reftype"] == "term":
        page, anchor = env.get_domain("std").objects["term", node["reftarget"]]
    elif node["reftype"] == "symbols":
        page, anchor = NOTATION, nodes.make_id(node["reftarget"])
    else:
        return None
    link = make_refnode(app.builder, node["refdoc"], page, anchor, content, node.get("title"))
    link["classes"] = [node["reftype"]]
    return link


def setup(app):
    """Explain when a page is read, link when all are."""
    app.add_transform(Explain)
    app.connect("missing-reference", resolve)
    return {"parallel_read_safe": True}
