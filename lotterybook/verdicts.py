"""What the findings of all chapters share: matching, connected, verdicts, and how numbers are written.

Definitions are those of the notation page. A verdict follows from a rule that stands in its table; nobody edits it.
"""

import re
from typing import NamedTuple

import torch

HOLDS, PARTLY, FAILS, UNTESTED = "holds", "holds partly", "does not hold", "no case to judge by"
VERDICTS = HOLDS, PARTLY, FAILS, UNTESTED
SPARSE = 0.3  # fewer weights than this share remain at "high sparsity"
AGREE, AGREE_PARTLY = 0.9, 0.75  # share of cases from which a claim holds, or holds partly
STABLE = 0.02  # instability below which Frankle et al. (2020) call a network stable


class Verdict(NamedTuple):
    """One row of a table: ``measure`` is its rule, ``verdict`` is ``HOLDS``, ``PARTLY``, ``FAILS`` or ``UNTESTED``."""

    claim: str
    measure: str
    value: str
    verdict: str


def inert(text) -> str:
    """A line of Markdown in which no HTML and no block begins: what records and parameters say in it stays text.

    Where the page breaks it, no line begins with the % of a number or ends with a ±.
    """
    line = re.sub("<(?=[A-Za-z/!?])", "&lt;", " ".join(text.splitlines()))
    return re.sub(r"(?<=\d) (?=%)|(?<=±) ", "\N{NO-BREAK SPACE}", line)


class Text(list):
    """Lines of Markdown that a notebook shows."""

    def _repr_markdown_(self):
        return "\n".join(map(inert, self))


def table(header, rows) -> Text:
    """Make a Markdown table of rows of texts."""
    return Text(f"| {' | '.join(row)} |" for row in (header, ["---"] * len(header), *rows))


class Table(list):
    """Verdicts that a notebook shows as a table, with the rules that they follow from folded below it."""

    def _repr_markdown_(self):
        rows = [[row.claim, f"**{row.verdict}**", row.value] for row in self]
        rules = Text(f"- **{row.claim}:** {row.measure}." for row in self)._repr_markdown_()
        shown = table(["claim", "verdict at this scale", "what we found"], rows)._repr_markdown_()
        return f"{shown}\n\n<details><summary>The rules of these verdicts</summary>\n\n{rules}\n\n</details>"


def deviation(tickets) -> float:
    """The standard deviation of the dense error over replicates, which is printed beside the tolerance."""
    return float(tickets["error"][0, 0].std())


def largest_error(tickets, epsilon) -> float:
    """The largest error that matches: the mean dense one plus epsilon."""
    return float(tickets["error"][0].mean()) + epsilon


def last_matching(error, tickets, epsilon):
    """The last level down to which errors (levels + 1, ..., R) always match in the mean over replicates, ``(...)``."""
    return (error.mean(-1) <= largest_error(tickets, epsilon)).long().cumprod(0).sum(0) - 1


class Contingency(NamedTuple):
    """Counts of pairs of successive levels: connected or not, the sparser network matching or not."""

    both: int
    only_matching: int
    only_connected: int
    neither: int

    @property
    def agreement(self) -> float:
        """Share of pairs that are connected and matching, or neither."""
        return (self.both + self.neither) / max(1, sum(self))

    @property
    def chance(self) -> float:
        """The agreement that the same shares of matching and of connected pairs would give if they were independent."""
        match, joined = self.both + self.only_matching, self.both + self.only_connected
        total = max(1, sum(self))
        return (match * joined + (total - match) * (total - joined)) / total**2


def crossed(match, joined) -> Contingency:
    """Count two tensors of booleans of one shape against each other: what matches, and what is connected."""
    parts = (match & joined, match & ~joined, ~match & joined, ~match & ~joined)
    return Contingency(*(int(part.sum()) for part in parts))


def percent(value, digits=1) -> str:
    """Write a rate in [0, 1], or a tensor of them as mean ± standard deviation, in percent."""
    value = torch.as_tensor(value, dtype=torch.float64)
    spread = f" ± {_deviation(100 * value, digits)}" if value.numel() > 1 else ""
    return f"{100 * value.mean():.{digits}f}{spread} %".replace("-", "−")


def _deviation(values, digits):
    """Write a standard deviation, with up to two digits more where it would look like none."""
    tried = [f"{values.std():.{n}f}" for n in range(digits, digits + 3)]
    return next((text for text in tried if float(text)), tried[0])


def points(value, digits=1) -> str:
    """Write a difference of rates, or a tensor of them as mean ± standard deviation, in percentage points."""
    text = percent(value, digits).replace(" %", " points")
    return "1 point" if text == "1 points" else text


def spread(values, digits=1) -> str:
    """Write numbers as mean ± standard deviation."""
    return f"{values.mean():.{digits}f} ± {_deviation(values, digits)}"


def of(yes) -> str:
    """Write how many of some booleans are true."""
    return f"{int(yes.sum())} of {yes.numel()}"


def rewind_steps(record):
    """The rewind steps of a record, a list."""
    return record["rewind_step"].tolist()


def grade(share, holds=AGREE, partly=AGREE_PARTLY):
    """The verdict on a share of cases; NaN, a share of none, is no verdict."""
    return UNTESTED if share != share else HOLDS if share >= holds else PARTLY if share >= partly else FAILS


def majority(checks):
    """``HOLDS`` if all are true, ``PARTLY`` if at least half are, else ``FAILS``; ``UNTESTED`` if there are none."""
    return grade(sum(checks) / len(checks) if checks else float("nan"), 1.0, 0.5)
