"""Sphinx extension: a prediction of a chapter is made before its answer shows.

In a notebook a paragraph that begins with ``**Predict.**`` ends its cell, or is followed there by the choices, each
``<details class="choice" name="predict-02-1"><summary>…</summary>``. What stands below is the answer: all cells up to
the next such question or heading. No cell can fold others, so the notebook leaves it open; in the book it is folded,
and ``answers.js`` unfolds it once the reader has chosen.
"""

from docutils import nodes
from sphinx.transforms import SphinxTransform

CELL = 10_000  # myst-nb counts the lines of each cell from a multiple of this on
OPEN = '<details class="answer"><summary>Show the answer</summary>'


def is_question(node):
    """Whether a node is a paragraph that begins with **Predict.**"""
    if not isinstance(node, nodes.paragraph):
        return False
    first = next((child for child in node.children if child.astext()), None)
    return isinstance(first, nodes.strong) and first.astext() == "Predict."


def is_tag(node, tag):
    """Whether a node is HTML that begins so."""
    return isinstance(node, nodes.raw) and node.astext().startswith(tag)


def after_choices(siblings, start):
    """The place behind the choices that begin at ``start``."""
    while start < len(siblings) and is_tag(siblings[start], '<details class="choice'):
        start = next(i for i in range(start, len(siblings)) if is_tag(siblings[i], "</details>")) + 1
    return start


def begin_of_cell(siblings, question, least):
    """The place of the first node that stands in the same cell of Markdown as a question."""
    place, cell = siblings.index(question), question.line // CELL
    while place > least and not isinstance(siblings[place - 1], nodes.container):  # which a cell of code is
        line = siblings[place - 1].line
        if line is not None and line // CELL != cell:
            break
        place -= 1
    return place


class FoldAnswers(SphinxTransform):
    """Puts the fold around each answer: two tags among its siblings, so that nothing else in the tree moves."""

    default_priority = 830  # before links to terms are added to paragraphs (840)

    def apply(self):
        """Change a notebook. The other pages put their answers into folds themselves."""
        if not self.env.doc2path(self.env.docname).endswith(".ipynb"):
            return
        for question in list(self.document.findall(is_question)):
            question["classes"].append("prediction")
            siblings = question.parent.children
            start = after_choices(siblings, siblings.index(question) + 1)
            stops = (i for i in range(start, len(siblings)) if isinstance(siblings[i], nodes.section))
            end = next(stops, len(siblings))
            if following := [node for node in siblings[start:end] if is_question(node)]:
                end = begin_of_cell(siblings, following[0], start)
            if end > start:
                question.parent.insert(end, nodes.raw("", "</details>", format="html"))
                question.parent.insert(start, nodes.raw("", OPEN, format="html"))


def setup(app):
    """Fold when a page is read."""
    app.add_transform(FoldAnswers)
    return {"parallel_read_safe": True}
