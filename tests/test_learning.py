"""Every chapter's learning aids: questions that answer back, objectives checked off, mistakes, further reading."""

import json
import re

import pytest
import yaml
from test_chapters import CHAPTERS, ROOT, cells, prose

from lotterybook import captions

CHOICE = re.compile(
    r'<details class="(choice(?: right)?)" name="([^"]*)"><summary>(.*?)</summary>\n\n(.*?)\n\n</details>', re.DOTALL
)
chapters = pytest.mark.parametrize("path", CHAPTERS, ids=lambda path: path.stem)


def section(path, title):
    """The text below a heading of level 2, which must be there once."""
    found = re.findall(rf"^## {re.escape(title)}\n(.*?)(?=^## |\Z)", prose(path), re.MULTILINE | re.DOTALL)
    assert len(found) == 1, f"{len(found)} sections {title!r}"
    return found[0]


def check_choices(text):
    """The form of one question's choices; returns the name that they share."""
    choices = CHOICE.findall(text)
    assert len(choices) == text.count("<details") and 2 <= len(choices) <= 4
    assert [kind for kind, *_ in choices].count("choice right") == 1
    assert len({name for _, name, *_ in choices}) == 1, "one name, so that only one answer is open"
    for kind, _, summary, feedback in choices:
        assert summary.strip() and not re.search(r"[$*`]", summary), "a summary is plain text"
        assert feedback.startswith("Right. ") == (kind == "choice right")
        assert len(feedback.split()) > 5, "feedback says why"
    right, wrong = ([len(s) for k, _, s, _ in choices if (k == "choice right") == wanted] for wanted in (True, False))
    assert 0.7 * min(wrong) < right[0] < 1.2 * max(wrong), "length does not give the answer away"
    return choices[0][1]


@chapters
def test_questions_answer_back(path):
    first, *questions = re.split(r"^\*\*\d+\. ", section(path, "Check yourself"), flags=re.MULTILINE)
    assert "<details" not in first
    assert 2 <= len(questions) <= 3
    assert all(text.count("<details") >= 3 for text in questions)
    names = [check_choices(text) for text in questions]
    assert names == [f"check-{path.name[:2]}-{number}" for number in range(1, len(questions) + 1)]


@chapters
def test_a_prediction_ends_its_cell(path):
    """Only its choices may follow: all that stands below is the answer, which the book folds (_ext/predictions.py)."""
    names = []
    for text in ("".join(cell["source"]) for cell in cells(path) if cell["cell_type"] == "markdown"):
        _, *predictions = re.split(r"^\*\*Predict\.\*\* ", text, flags=re.MULTILINE)
        assert len(predictions) <= 1
        for prediction in predictions:
            _, _, choices = prediction.strip().partition("\n\n")
            names += [check_choices(choices)] if choices else []
    assert names == [f"predict-{path.name[:2]}-{number}" for number in range(1, len(names) + 1)]


@chapters
def test_a_chapter_begins_with_its_question_and_the_answer(path):
    """The question in bold, then three sentences in short, then what the reader will be able to do."""
    title, question, answer, *_ = re.split(r"\n\n", prose(path), maxsplit=3)
    assert title.startswith("# ") and re.fullmatch(r"\*\*.+\?\*\*", question)
    assert answer.startswith("**In short.** ")
    sentences = re.split(r"(?<=[.!?])\s+", re.sub(r"<[^>]+>", "", answer.removeprefix("**In short.** ")))
    assert len(sentences) == 3, sentences
    assert re.search(r"\*You will be able to\*\n\n((?:- .*\n){2,4})", prose(path))


def story(path):
    """The cells of Markdown of a chapter before the verdict: what the clock of a reader counts."""
    text, _, rest = prose(path).partition("\n## Verdict\n")
    assert rest
    return text


@chapters
def test_a_chapter_is_short(path):
    assert len(captions.captions(json.loads(path.read_text()))) <= 9
    folded = re.sub(r"<details.*?</details>", "", story(path), flags=re.DOTALL)
    assert len(re.findall(r"\S+", re.sub(r"\$\$.*?\$\$|<[^>]+>", " ", folded, flags=re.DOTALL))) <= 2500


@chapters
def test_a_paragraph_holds_three_numbers_of_records_at_most(path):
    """In the story and in the captions of its figures; what needs more stands in a table, folded."""
    paragraphs = re.split(r"\n\s*\n", re.sub(r"<details.*?</details>", "", prose(path), flags=re.DOTALL))
    crowded = [text for text in paragraphs if text.count("data-value=") > 3]
    assert crowded == []


@chapters
def test_every_prediction_has_choices(path):
    parts = re.split(r"^\*\*Predict\.\*\* ", prose(path), flags=re.MULTILINE)[1:]
    assert parts and all('<details class="choice' in text.partition("\n## ")[0] for text in parts)


@chapters
def test_links_to_sections_lead_to_one(path):
    """MyST makes anchors the way GitHub does, down to the level that the settings name."""
    depth = yaml.safe_load((ROOT / "_config.yml").read_text())["sphinx"]["config"]["myst_heading_anchors"]
    headings = re.findall(rf"^#{{1,{depth}}} (.+)$", prose(path), re.MULTILINE)
    anchors = [re.sub(r"[^\w\- ]", "", heading.strip().lower().replace(" ", "-")) for heading in headings]
    for title, anchor in re.findall(r"\[([^\]]+)\]\(#(?!fig-)([^)]+)\)", prose(path)):  # but figures
        assert anchors.count(anchor) == 1, anchor
        assert headings[anchors.index(anchor)] == title


@chapters
def test_mistakes_stand_in_one_box(path):
    box = r'<div class="admonition caution">\n<p class="admonition-title">Common mistakes</p>\n\n(.*?)\n\n</div>'
    found = re.findall(box, prose(path), re.DOTALL)
    assert len(found) == 1 == prose(path).count("Common mistakes")
    items = re.findall(r"^- \*\*.+?\*\* \S.+$", found[0], re.MULTILINE)
    assert 4 <= len(items) <= 6 and len(items) == len(found[0].splitlines())


@chapters
def test_further_reading_is_not_all_older_than_the_paper(path):
    text = section(path, "Further reading")
    items = re.findall(r"^- (.+)$", text, re.MULTILINE)
    assert 3 <= len(items) <= 6 and all("{footcite:t}`" in item for item in items)
    cited = set(re.findall(r"\{footcite:t\}`(\w+)`", text)) - {"paul2023unmasking"}
    assert any(int(re.search(r"\d{4}", key)[0]) >= 2023 for key in cited)


@chapters
def test_learning_aids_stand_in_their_order(path):
    titles = re.findall(r"^## (.+)$", prose(path), re.MULTILINE)[-6:]
    assert titles == ["Verdict", "Check yourself", "Exercises", "Further reading", "How this was decided", "References"]


@chapters
def test_how_it_was_decided_is_folded(path):
    text = section(path, "How this was decided")
    assert re.sub(r"<details>.*?</details>", "", text, flags=re.DOTALL).strip() == ""
