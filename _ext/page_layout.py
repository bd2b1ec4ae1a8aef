"""Sphinx extension: pages that show at once and load no more than they need, and tables that can be read on a phone."""

from docutils import nodes
from sphinx.transforms.post_transforms import SphinxPostTransform

STATE = "application/vnd.jupyter.widget-state+json"
COLUMNS, LONG = 3, 40  # a table with so many columns, and so many characters in one cell, is too wide for a phone


class LabelCells(SphinxPostTransform):
    """Give each cell of a wide table the name of its column, for screens on which ``book.css`` stacks the cells."""

    default_priority = 900  # after myst-nb has chosen what a cell's output shows
    formats = ("html",)

    def run(self):
        for table in self.document.findall(nodes.table):
            heads = [entry.astext() for head in table.findall(nodes.thead) for entry in head.findall(nodes.entry)]
            rows = [row.children for body in table.findall(nodes.tbody) for row in body.findall(nodes.row)]
            if len(heads) >= COLUMNS and any(len(entry.astext()) > LONG for row in rows for entry in row):
                table["classes"].append("stacked")
                for row in rows:
                    for head, entry in list(zip(heads, row, strict=True))[1:]:
                        if entry.children:
                            entry[0].insert(0, nodes.inline("", f"{head}: ", classes=["column"]))


def state_last(app, page, template, context, doctree):
    """Move the state of a page's widgets, which is megabytes of pictures, from before the text to behind it."""
    scripts = context["script_files"]
    states = [script for script in scripts if script.attributes.get("type") == STATE]
    context["script_files"] = [script for script in scripts if script not in states]
    context["body"] = context.get("body", "") + "".join(map(context["js_tag"], states))


def no_idle_mathjax(app, page, template, context, doctree):
    """Leave MathJax, two megabytes, out of a page without a formula, which Sphinx gives it if pages below have one."""
    body = context.get("body", "")
    if not any(sign in body for sign in ('class="math', 'class="widget', "jupyter.widget")):
        about = "tex-svg", "window.MathJax"
        told = {script: f"{script.filename} {script.attributes.get('body', '')}" for script in context["script_files"]}
        context["script_files"] = [script for script in told if not any(name in told[script] for name in about)]


def setup(app):
    """All of it happens when a page is written."""
    app.connect("html-page-context", no_idle_mathjax, priority=800)  # after Sphinx has added MathJax
    app.add_post_transform(LabelCells)
    app.connect("html-page-context", state_last, priority=900)  # after myst-nb has added the state
    return {"parallel_read_safe": True}
