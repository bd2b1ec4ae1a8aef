"""What the page of the library says about bits is what is measured here."""

import json
import re
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent


def table():
    """The page's table: by row, what it says of each network."""
    lines = re.findall(r"^\| (.*) \|$", (ROOT / "chapters" / "api.md").read_text(encoding="utf-8"), re.MULTILINE)
    head, *rows = [line.split(" | ") for line in lines]
    return {row[0]: dict(zip(head[1:], row[1:], strict=True)) for row in rows}


def test_the_page_has_every_row_of_the_measurement(monkeypatch):
    monkeypatch.syspath_prepend(str(ROOT / "benchmarks"))
    import determinism

    assert list(table()) == [*determinism.ROWS]
    assert all([*row] == [f"`{name}`" for name in determinism.NETWORKS] for row in table().values())


@pytest.mark.soak
def test_what_is_promised_to_be_the_same_is_the_same_again(tmp_path):
    """The rows that say so of every network; the others tell how one machine happened to round."""
    script, made = ROOT / "benchmarks" / "determinism.py", tmp_path / "made.json"
    subprocess.run([sys.executable, script, "--rounds", "1", "--save", made], cwd=ROOT, check=True, timeout=1800)
    found = json.loads(made.read_text())["same bits"]
    promised = [row for row, told in table().items() if set(told.values()) == {"same"}]
    assert len(promised) == 7
    for row in promised:
        assert set(found[row].values()) == {"same"}, (row, found[row])
