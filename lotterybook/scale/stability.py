"""C1 apart by stability: does it hold from the rewind steps on at which the dense network is stable?"""

from ..barriers import halves
from ..barriers.experiments import architectures, other_instabilities
from ..barriers.halves import HIGHER, SHARE, SHARE_PARTLY
from ..tickets.experiments import contrast
from ..verdicts import STABLE, Table, Text, Verdict, percent, points, rewind_steps, table
from . import readings


def by_stability(scales, unstable) -> Text:
    """Both halves, apart by stability, of all scales whose instability is given; records by name, as for figures."""
    return _apart({name: of_scale(*scales[name], one) for name, one in unstable.items()})


def others_by_stability(preset, recompute=False, device="auto") -> Text:
    """The same table of the other networks of chapter 2."""
    return _apart(others(preset, recompute, device))


def of_scale(tickets, barriers, unstable):
    """What ``readings.apart`` takes, from the records of one scale."""
    return readings.means(tickets, barriers).levels(HIGHER), rewind_steps(tickets), unstable


def others(preset, recompute=False, device="auto") -> dict:
    """The same of the other networks of chapter 2, by their names."""
    needed = contrast, architectures, other_instabilities
    return readings.others(*(made(preset, recompute, device) for made in needed))


def _apart(networks):
    """A table of what ``readings.apart`` takes, by name."""
    found, first = {name: readings.apart(*one) for name, one in networks.items()}, {}
    for name, (_, _, unstable) in networks.items():
        k = readings.stable_from(unstable)
        first[name] = "at none of its steps" if k is None else f"from step {k:,}"
    found["together"] = [readings.together(counts) for counts in zip(*found.values(), strict=True)]
    rows = [
        [name, first.get(name, ""), *(in_words(*half) for counted in counts for half in halves.halves(counted))]
        for name, counts in found.items()
    ]
    return table(["network", "stable", "*if*, stable", "*only if*, stable", "*if*, before", "*only if*, before"], rows)


def stability_tested(preset, recompute=False, device="auto") -> Table:
    """The verdict on a question of our own: does stability sort the pairs of networks that it was not found on?

    The rule stands here since before the instability of four of these five networks was measured.
    """
    counts = [readings.apart(*one)[0] for one in others(preset, recompute, device).values()]
    counted = readings.together(counts)
    good = [in_words(*half) for half in halves.halves(counted)]
    return Table([
        Verdict(
            "Where the dense network is stable, successive pruned networks are connected if and only if they match",
            f"the five other networks of chapter 2, on none of which this was found: all pairs from level {HIGHER} on "
            "at the rewind steps from which on the dense network's mean instability stays below "
            f"{points(STABLE, 0)}, counted by the rule of chapter 2: holds if both halves are at least "
            f"{percent(SHARE, 0)}, partly from {percent(SHARE_PARTLY, 0)}. Their pairs were known when this was "
            "written, and the instability of the plain network of width 24",
            f"*If*: {good[0]} matching pairs are connected. *Only if*: {good[1]} connected pairs match",
            halves.judge(counted),
        )
    ])  # fmt: skip


def in_words(some, whole) -> str:
    """So many of so many pairs."""
    return f"{some} of {whole}" if whole else "no pair"
