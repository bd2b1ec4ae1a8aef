"""Claims C1 to C4 on Fashion-MNIST, the preset ``medium``, by the rules of chapters 2 to 5.

The rules were written for the testbed, before its records were made and before these were. Nothing of them is changed;
that of C3 is asked of the dense network, and of that of C4 the first part, which takes no further training.
"""

from ..barriers.experiments import successive_barriers
from ..barriers.findings import if_and_only_if
from ..limits import findings as limits
from ..presets import PRESETS
from ..retraining.experiments import refilling
from ..retraining.findings import MOST, new_small, split
from ..robustness import findings as robustness
from ..tickets.experiments import winning_tickets
from ..verdicts import FAILS, HOLDS, UNTESTED, Table, Verdict, percent, rewind_steps

PRESET = "medium"


def claims(preset=PRESET) -> Table:
    """A row for each claim; two for C1, of which the second has BatchNorm's statistics measured anew on the line."""
    tickets, barriers = winning_tickets(preset), successive_barriers(preset)
    anew = if_and_only_if(tickets, {**barriers, "height": barriers["recalibrated"]})
    return Table([
        if_and_only_if(tickets, barriers),
        anew._replace(claim="The same, with BatchNorm's statistics measured anew all along the line"),
        robustness.row(preset),
        limits.row(preset),
        refilled(refilling(preset), tickets, PRESETS[preset].tickets.control_step),
    ])  # fmt: skip


def refilled(record, tickets, k) -> Verdict:
    """The first part of the rule for C4, at rewind step k: are there new small weights to prune?"""
    shares = split(new_small(record), tickets)[0][rewind_steps(tickets).index(k)]
    return Verdict(
        "The role of retraining in IMP is to find a network with new small weights to prune",
        f"at k = {k}, at the levels where IMP matches: of the weights pruned next, the share that lie at or below the "
        f"last threshold, where pruning had left none; holds if it is at least {percent(MOST, 0)} in the mean (the "
        "first part of the rule of chapter 5)",
        f"{percent(shares.mean(0), 0)} of the weights pruned next are new small ones"
        if len(shares)
        else "IMP matches at no level after which something is pruned",
        UNTESTED if not len(shares) else HOLDS if shares.mean() >= MOST else FAILS,
    )
