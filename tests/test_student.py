"""The student edition: what is left open, and what is left out. `test_chapters.py` runs it, solved."""

import json
import re

import pytest

from lotterybook import build, exercises, student

CHAPTERS = exercises.chapters()
CELL = """\
## Exercises

**1. Think.** *5 minutes, easy.* Why?

<details><summary>Solution</summary>

Because. See [notation](notation.md#x).

</details>

**2. Compute.** *20 minutes, hard.* How many?

In two steps. See [notation](notation.md#x) and [chapter 1](01_winning_tickets.ipynb).

<details><summary>Solution</summary>

```python
counts = 1, 2
# BEGIN SOLUTION
total, unused = 0, 1
for count in counts:
    total += count
# END SOLUTION
print(total)
assert total == 3
assert total > 0, "more"
```

Three.

</details>

**3. Free.** *10 minutes, medium.* Try.

<details><summary>Solution</summary>

```python
print("anything")
```

</details>

## Verdict
"""


def notebook(text):
    """A chapter of three cells."""
    code = {"cell_type": "code", "id": "a", "metadata": {}, "execution_count": 3, "source": ["1"], "outputs": [{}]}
    markdown = {"cell_type": "markdown", "id": "b", "metadata": {}, "source": text.splitlines(keepends=True)}
    about = {"kernelspec": {"name": "python3"}, "lotterybook": {"sources": "x"}, "widgets": {}}
    return {"cells": [code, markdown, {**code, "id": "c"}], "metadata": about, "nbformat": 4, "nbformat_minor": 5}


def test_an_exercise_is_read():
    first, second, third = exercises.parse(CELL)
    assert (first.number, first.title, first.minutes, first.difficulty) == (1, "Think.", 5, "easy")
    assert [task.kind for task in (first, second, third)] == ["on paper", "code, checked", "code"]
    assert second.question.endswith("[chapter 1](01_winning_tickets.ipynb).")
    assert second.checks == 'assert total == 3\nassert total > 0, "more"\n'


@pytest.mark.parametrize("wrong", ["**1. Think.** Why?", "**1. Think.** *5 minutes, odd.* Why?"])
def test_an_exercise_without_time_or_difficulty_is_refused(wrong):
    with pytest.raises(ValueError, match="exercise 1, 'Think.', must begin like"):
        exercises.parse(CELL.replace("**1. Think.** *5 minutes, easy.* Why?", wrong))


def test_a_gap_keeps_the_names_that_are_needed():
    code = "    # BEGIN SOLUTION\n    a = b = 1\n    c, d = a, b\n    # END SOLUTION\n    print(a, d)\n"
    assert exercises.open_up(code) == "    a = ...  # your code\n    d = ...  # your code\n    print(a, d)\n"
    assert "    b = ...  # your code\n" in exercises.open_up(code, "assert b == 1")
    assert exercises.open_up("# BEGIN SOLUTION\nprint(1)\n# END SOLUTION\n") == "...  # your code\n"
    assert exercises.open_up("print(1)\n") == "...  # your code\n"


def test_an_edition_has_gaps_and_checks_and_nothing_else_of_a_solution():
    made = student.edition(notebook(CELL))
    sources = ["".join(cell["source"]) for cell in made["cells"]]
    assert sources[0] == "1" and sources[1] == student.ABOUT, "the first cell stays first: it fetches the book"
    assert sources[2].startswith("## Exercises") and sources[3] == "*Your answer:*"
    assert sources[5] == "counts = 1, 2\ntotal = ...  # your code\nprint(total)"
    assert sources[6] == 'assert total == 3\nassert total > 0, "more"'
    assert sources[8:] == ["...  # your code", "## Verdict", "1"]
    assert "See notation and [chapter 1](01_winning_tickets.ipynb)." in sources[4]
    assert len({cell["id"] for cell in made["cells"]}) == len(sources)
    assert made["metadata"] == {"kernelspec": {"name": "python3"}}
    assert all(not cell.get("outputs") and cell.get("execution_count") is None for cell in made["cells"])


def test_links_lead_to_the_published_pages(monkeypatch):
    monkeypatch.setattr(build, "address", lambda: ("https://github.com/a/b", "published"))
    made = json.dumps(student.edition(notebook(CELL)))
    assert "[notation](https://github.com/a/b/blob/published/chapters/notation.md#x)" in made


def ran(cells, tag):
    """The cells with a tag, run after all code before them."""
    namespace = {}
    for cell in cells:
        if cell["cell_type"] == "code":
            exec("".join(cell["source"]), namespace)
    return [cell for cell in cells if tag in cell["metadata"].get("tags", ())]


def test_solutions_put_back_pass_and_gaps_do_not(capsys):
    cells = student.edition(notebook(CELL), solved=True)["cells"]
    assert len(ran(cells, "solution")) == 2 and len(ran(cells, "check")) == 1
    assert capsys.readouterr().out.count("refused: AssertionError") == 2  # once in each call
    with pytest.raises((AssertionError, TypeError)):
        ran(student.edition(notebook(CELL))["cells"], "task")


def test_a_check_that_accepts_the_gaps_is_found():
    weak = CELL.replace('assert total == 3\nassert total > 0, "more"', "assert counts")
    with pytest.raises(AssertionError, match="exercise 2: its checks accept the gaps"):
        ran(student.edition(notebook(weak), solved=True)["cells"], "solution")


def test_marks_are_left_out_of_the_published_book():
    text = json.dumps(notebook(CELL), indent=1)
    plain = json.loads(exercises.without_marks(text))
    assert "SOLUTION" in text and "SOLUTION" not in json.dumps(plain)
    assert len("".join(plain["cells"][1]["source"])) == len(CELL) - len("# BEGIN SOLUTION\n# END SOLUTION\n")


@pytest.mark.parametrize("path", CHAPTERS, ids=lambda path: path.stem)
def test_every_chapter_has_an_edition(path):
    chapter, tasks = json.loads(path.read_text()), exercises.read(path)
    assert [task.number for task in tasks] == list(range(1, len(tasks) + 1)) and len(tasks) >= 4
    assert any(task.checks for task in tasks), "one exercise at least checks itself"
    made = json.dumps(student.edition(chapter), ensure_ascii=False)
    assert "Solution</summary>" not in made and "SOLUTION" not in made and "your code" in made
    for task in tasks:
        assert not task.checks or exercises.BEGIN in task.code, f"exercise {task.number}: what do its checks check?"


def test_folds_that_are_solutions_are_all_found():
    for path in CHAPTERS:
        text = path.read_text()
        assert text.count("<summary>Solution</summary>") == len(exercises.read(path)), path.name
        assert len(re.findall("BEGIN SOLUTION", text)) == len(re.findall("END SOLUTION", text)) > 0


def test_the_command_writes_every_chapter(tmp_path, capsys):
    student.main(tmp_path)
    assert sorted(path.name for path in tmp_path.iterdir()) == [path.name for path in CHAPTERS]
    assert str(tmp_path) in capsys.readouterr().out
