"""What the findings of all chapters share: matching, connected, verdicts, and how numbers are written.

Definitions are those of the notation page. A verdict follows from a rule that stands in its table; nobody edits it.
"""

from typing import NamedTuple

import torch

HOLDS, PARTLY, FAILS, UNTESTED = "holds", "holds partly", "does not hold", "no case to judge by"
VERDICTS = {HOLDS: "hold", PARTLY: "in part", FAILS: "not", UNTESTED: "without a case"}  # as many rows say it
TICKET = 3  # levels that have to match before we speak of a ticket: about half of the weights are gone then
SPARSE = 0.3  # fewer weights than this share remain at "high sparsity"
AGREE, AGREE_PARTLY = 0.9, 0.75  # share of cases from which a claim holds, or holds partly
STABLE = 0.02  # instability below which Frankle et al. (2020) call a network stable


class Verdict(NamedTuple):
    """One row of a table: ``measure`` is its rule, ``verdict`` is ``HOLDS``, ``PARTLY``, ``FAILS`` or ``UNTESTED``."""

    claim: str
    measure: str
    value: str
    verdict: str


class Text(list):
    """Lines of Markdown that a notebook shows."""

    def _repr_markdown_(self):
        return "\n".join(self)


def table(header, rows) -> Text:
    """Make a Markdown table of rows of texts."""
    return Text(f"| {' | '.join(row)} |" for row in (header, ["---"] * len(header), *rows))


class Table(list):
    """Verdicts that a notebook shows as a table, with the rules that they follow from folded below it."""

    def _repr_markdown_(self):
        rows = [[row.claim, f"**{row.verdict}**", row.value] for row in self]
        rules = "\n".join(f"- **{row.claim}:** {row.measure}." for row in self)
        shown = table(["claim", "verdict at this scale", "what we found"], rows)._repr_markdown_()
        return f"{shown}\n\n<details><summary>The rules of these verdicts</summary>\n\n{rules}\n\n</details>"


def tolerance(tickets) -> float:
    """The epsilon of epsilon-matching: the standard deviation of the dense error over replicates."""
    return float(tickets["error"][0, 0].std())


def largest_error(tickets, epsilon=None) -> float:
    """The largest error that matches: the mean dense one plus epsilon."""
    return float(tickets["error"][0].mean()) + (tolerance(tickets) if epsilon is None else epsilon)


def matching(tickets, epsilon=None):
    """Which solutions match: ``E <= mean dense E + epsilon``, booleans (levels + 1, K, R)."""
    return tickets["error"] <= largest_error(tickets, epsilon)


def last_matching(error, tickets, epsilon=None):
    """The last level down to which errors (levels + 1, ..., R) always match in the mean over replicates, ``(...)``."""
    return (error.mean(-1) <= largest_error(tickets, epsilon)).long().cumprod(0).sum(0) - 1


def sparsest_matching(tickets):
    """For each rewind step the last level down to which the mean error over replicates always matches, ``(K,)``."""
    return last_matching(tickets["error"], tickets)


def connected(barrier, epsilon):
    """At which levels the mean of a barrier (levels, K, R) to the level before is within epsilon, (levels, K)."""
    return barrier.mean(-1) <= epsilon


class Contingency(NamedTuple):
    """Counts of pairs of successive levels: connected or not, both ends matching or not."""

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

    @property
    def matching_connected(self) -> float:
        """Share of matching pairs that are connected: the "if"."""
        return self.both / max(1, self.both + self.only_matching)

    @property
    def connected_matching(self) -> float:
        """Share of connected pairs that match: the "only if"."""
        return self.both / max(1, self.both + self.only_connected)


def crossed(match, joined) -> Contingency:
    """Count two tensors of booleans of one shape against each other: what matches, and what is connected."""
    parts = (match & joined, match & ~joined, ~match & joined, ~match & ~joined)
    return Contingency(*(int(part.sum()) for part in parts))


def contingency(tickets, barrier, epsilon=None, sparse=None) -> Contingency:
    """Count successive pairs by connected (barrier <= epsilon) and matching (both ends), over rewind, replicate, level.

    ``barrier`` (levels, K, R); ``sparse=True`` counts only pairs whose sparser end keeps fewer than ``SPARSE`` of the
    weights, ``False`` only the others, ``None`` all.
    """
    epsilon = tolerance(tickets) if epsilon is None else epsilon
    match = matching(tickets, epsilon)
    match = match[:-1] & match[1:]
    connected = barrier <= epsilon
    if sparse is not None:
        chosen = (tickets["density"][1:] < SPARSE) == sparse
        match, connected = match[chosen], connected[chosen]
    return crossed(match, connected)


def contrast_name(record) -> str:
    """What sets the network of a contrast apart, from the settings of its record."""
    arm = record.about["settings"]["contrast"]
    if arm["network"].endswith("plain"):
        return "without BatchNorm"
    return f"at learning rate {arm['config']['recipe']['lr']}"


def percent(value, digits=1) -> str:
    """Write a rate in [0, 1], or a tensor of them as mean ± standard deviation, in percent."""
    value = torch.as_tensor(value, dtype=torch.float64)
    spread = f" ± {100 * value.std():.{digits}f}" if value.numel() > 1 else ""
    return f"{100 * value.mean():.{digits}f}{spread} %".replace("-", "−")


def points(value, digits=1) -> str:
    """Write a difference of rates, or a tensor of them as mean ± standard deviation, in percentage points."""
    return percent(value, digits).replace(" %", " points")


def spread(values, digits=1) -> str:
    """Write numbers as mean ± standard deviation."""
    return f"{values.mean():.{digits}f} ± {values.std():.{digits}f}"


def of(yes) -> str:
    """Write how many of some booleans are true."""
    return f"{int(yes.sum())} of {yes.numel()}"


def reach(tickets):
    """For each rewind step the fewest weights down to which it matches, as text."""
    return [percent(tickets["density"][level], 0) if level else "none" for level in sparsest_matching(tickets)]


def rewind_steps(record):
    """The rewind steps of a record, a list."""
    return record["rewind_step"].tolist()


def grade(share, holds=AGREE, partly=AGREE_PARTLY):
    """The verdict on a share of cases; NaN, a share of none, is no verdict."""
    return UNTESTED if share != share else HOLDS if share >= holds else PARTLY if share >= partly else FAILS


def majority(checks):
    """``HOLDS`` if all are true, ``PARTLY`` if at least half are, else ``FAILS``; ``UNTESTED`` if there are none."""
    return grade(sum(checks) / len(checks) if checks else float("nan"), 1.0, 0.5)
