"""What was found, claim by claim, in plain sentences, for whoever writes the chapters: ``make findings PRESET=book``.

One row for each claim of the paper's abstract, by rules that were written before the records were made; then the
sentences of each room, and what all this was measured on.
"""

import sys

from . import experiment
from .barriers import evidence as barriers
from .limits import evidence as limits
from .retraining import evidence as retraining
from .robustness import evidence as robustness
from .tickets import evidence as tickets
from .verdicts import Table, Text

ROOMS = {"C0": tickets, "C1": barriers, "C2": robustness, "C3": limits, "C4": retraining}


def abstract(preset) -> Table:
    """One row for each claim of the abstract; and one for the mask, the second sentence of C1."""
    rows = {claim: room.row(preset) for claim, room in ROOMS.items()}
    return Table([rows.pop("C0"), rows.pop("C1"), barriers.mask_row(preset), *rows.values()])


def page(preset) -> Text:
    """The page as lines of Markdown."""
    lines = [f"# What the records of `{preset}` say", ""]
    for row in abstract(preset):
        lines += [f"**{row.claim}: {row.verdict}.** {row.value}. (Rule: {row.measure}.)", ""]
    for claim, room in ROOMS.items():
        lines += [f"## {claim}", "", *(f"- {sentence}" for sentence in room.sentences(preset)), ""]
    return Text([*lines, "## Records", "", *_records(preset)])


def _records(preset):
    """Seconds, machine and revision of each record, and the sum."""
    about = {name: experiment.recorded(name, preset).about for name in experiment.experiments_of(preset)}
    rows = [
        f"- {name}: {one['seconds']:,.0f} s, {one['device']}, {one['date']}, lotterylib {one['versions']['lotterylib']}"
        for name, one in about.items()
    ]
    return [*rows, f"- in all {sum(one['seconds'] for one in about.values()) / 3600:.2f} hours"]


if __name__ == "__main__":
    print(*page(*sys.argv[1:]), sep="\n")
