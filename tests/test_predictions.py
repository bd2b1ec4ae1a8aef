"""Where the extension puts the fold around an answer; ``check_built_book.py`` looks at what readers see of it."""

import sys
from pathlib import Path
from types import SimpleNamespace

import pytest
from docutils import nodes, utils

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT / "_ext"))
import predictions  # noqa: E402


def paragraph(cell, text, strong=""):
    """A paragraph in a cell of a notebook, which may begin with a word in bold, as MyST gives it."""
    node = nodes.paragraph("", "", nodes.Text(""), nodes.strong("", strong), nodes.Text(text)) if strong else None
    node = node or nodes.paragraph("", text)
    node.line = cell * predictions.CELL + 1
    return node


def asked(cell):
    return paragraph(cell, " What will happen?", "Predict.")


def html(cell, text):
    node = nodes.raw("", text, format="html")
    node.line = cell * predictions.CELL + 1
    return node


def choice(cell):
    tag = f'<details class="choice" name="predict-{cell}"><summary>This.</summary>'
    return [html(cell, tag), paragraph(cell, "right?"), html(cell, "</details>")]


def shown():
    """What a cell of code shows: without a line."""
    return nodes.container("", nodes.paragraph("", "output"), classes=["cell"])


def folded(*siblings, name="chapter.ipynb"):
    """The texts of a section after the extension has seen it, a fold's as one."""
    document = utils.new_document("chapter")
    document.settings.env = SimpleNamespace(docname="chapter", doc2path=lambda _: name)
    document += nodes.section("", nodes.title("", "Title"), *siblings)
    predictions.FoldAnswers(document).apply()
    texts, inside = [], False
    for node in document[0].children[1:]:
        if node.astext() == predictions.OPEN:
            inside, texts = True, [*texts, []]
        elif node.astext() == "</details>" and inside:
            inside = False
        else:
            (texts[-1] if inside else texts).append(node.astext())
    assert not inside
    return texts


def test_the_answer_goes_to_the_end_of_the_section_but_not_into_the_next():
    inner = nodes.section("", nodes.title("", "Inner"), paragraph(5, "more"))
    texts = folded(paragraph(1, "before"), asked(1), shown(), paragraph(3, "meaning"), shown(), inner)
    assert texts == ["before", "Predict. What will happen?", ["output", "meaning", "output"], inner.astext()]


def test_the_answer_ends_where_the_cell_of_the_next_question_begins():
    texts = folded(asked(1), shown(), paragraph(3, "meaning"), paragraph(4, "now"), asked(4), shown())
    assert texts[1:3] == [["output", "meaning"], "now"] and texts[4:] == [["output"]]
    without_line = nodes.paragraph("", "symbols")  # what another extension has put in
    texts = folded(asked(1), shown(), paragraph(3, "formula"), without_line, asked(3), shown())
    assert texts[1:4] == [["output"], "formula", "symbols"]


def test_choices_stay_before_the_fold():
    question = [asked(1), *choice(1), *choice(1)]
    assert [place for place, node in enumerate(question) if node.astext() == "</details>"] == [3, 6]
    section = nodes.section("", *question, shown())
    assert predictions.after_choices(section.children, 1) == len(question)
    assert folded(*question, shown())[-1] == ["output"]


@pytest.mark.parametrize("name", ["page.md", "chapter.ipynb"])
def test_without_an_answer_or_outside_a_chapter_nothing_is_folded(name):
    below = [paragraph(1, "below")] if name == "page.md" else []
    assert len(folded(asked(1), *below, name=name)) == 1 + len(below)


def test_what_begins_otherwise_is_no_question():
    assert predictions.is_question(asked(1))
    assert not predictions.is_question(paragraph(1, "Predict. Not bold."))
    assert not predictions.is_question(paragraph(1, " Later.", "Check."))
    assert not predictions.is_question(nodes.title("", "Predict."))
