"""What was found, claim by claim, in plain sentences, for whoever writes the chapters: ``make findings PRESET=book``.

One row for each claim of the paper's abstract, by rules that were written before the records were made; then the
sentences of each room, and what all this was measured on.
"""

import sys

from . import claims, experiment
from .verdicts import Text


def page(preset) -> Text:
    """The page as lines of Markdown."""
    lines = [f"# What the records of `{preset}` say", ""]
    for row in claims.abstract(preset):
        lines += [f"**{row.claim}: {row.verdict}.** {row.value}. (Rule: {row.measure}.)", ""]
    for claim, room in claims.ROOMS.items():
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
