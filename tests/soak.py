"""What the tests of reliability tried, and what came of it: the tables that ``make soak`` prints and keeps."""

import re
from datetime import datetime, timezone

import pytest

from lotterybook import records
from lotterylib import store

TABLES = {}  # by title: rows, dicts by column


def forms(name, quick, full):
    """Run a test with the argument ``name`` in its quick form, and with the mark ``soak`` in its full one."""
    each = pytest.param(quick, id="quick"), pytest.param(full, id="full", marks=pytest.mark.soak)
    return pytest.mark.parametrize(name, each)


def tally(title, **row):
    """Add a row to the table of this title; the table's columns are those of its first row."""
    TABLES.setdefault(title, []).append(row)


def tables() -> str:
    """All tables in Markdown, and when they were made, by which revision."""
    lines = []
    for title, rows in TABLES.items():
        columns = [column.replace("_", " ") for column in rows[0]]
        lines += [f"**{title}**", "", _line(columns), _line(["---"] * len(columns))]
        lines += [*(_line(row.values()) for row in rows), ""]
    date = datetime.now(timezone.utc).date().isoformat()
    return "\n".join([*lines, f"Tried on {date} with lotterylib {records.VERSION}.", ""])


def keep(path):
    """Put the tables into a page, between its marks."""
    text = path.read_text(encoding="utf-8")
    made, count = re.subn(r"(?s)(<!-- soak -->\n).*?(?=<!-- /soak -->)", lambda mark: f"{mark[1]}\n{tables()}\n", text)
    assert count == 1, f"{path} has no place for the tables"
    store.write_bytes(path, made.encode())


def _line(cells):
    return "| " + " | ".join(str(cell).replace("|", "\\|") for cell in cells) + " |"
