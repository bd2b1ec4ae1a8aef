"""What the records say of the paper's claims: a verdict table for each, and every number that the prose quotes."""

from .barriers import findings as barriers
from .experiment import EXPERIMENTS as EXPERIMENTS  # now those of all rooms
from .experiment import experiments_of, recorded
from .limits import findings as limits
from .retraining import findings as retraining
from .robustness import findings as robustness
from .scale import findings as scale
from .tickets import findings as tickets
from .verdicts import VERDICTS

ROOMS = tickets, barriers, robustness, limits, retraining, scale


def claims(preset="book") -> dict:
    """The verdict table of each of the paper's claims, by the claim's name."""

    def table(judge, *names):
        return judge(*(recorded(name, preset) for name in names))

    return {
        "C0": table(tickets.winning_tickets, "winning_tickets", "controls", "instability"),
        "C1": table(
            barriers.error_barriers,
            "winning_tickets", "successive_barriers", "all_pairs", "projections", "failing_masks", "contrast",
        ),
        "C2": table(robustness.sgd_robustness, "robustness", "forgiveness"),
        "C3": table(
            limits.pruning_limits, "spectra", "projected", "descents", "winning_tickets", "controls", "adaptive"
        ),
        "C4": table(retraining.role_of_retraining, "refilling", "without_retraining", "winning_tickets"),
    }  # fmt: skip


def numbers(preset="book") -> dict:
    """The numbers that the prose can quote, by name, as text: those of a preset, and of each scale beside it."""
    seconds = sum(recorded(name, preset).about["seconds"] for name in experiments_of(preset))
    named = {"record hours": f"{seconds / 3600:.1f} hours"}
    for claim, rows in claims(preset).items():
        judged = [row.verdict for row in rows]
        counts = [f"{judged.count(verdict)} {word}" for verdict, word in VERDICTS.items() if verdict in judged]
        named[f"verdicts {claim}"] = ", ".join(counts)
    for room in ROOMS:
        named |= room.numbers(preset)
    return named
