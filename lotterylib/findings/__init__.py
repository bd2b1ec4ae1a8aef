"""What the records say: matching, connected, the verdict tables, and every number that the prose quotes.

Definitions are those of the notation page. A verdict follows from a rule that stands in its table; nobody edits it.
"""

from .. import experiments
from . import barriers, limits, retraining, robustness, tickets
from .barriers import connected_and_matching, distant_levels, error_barriers
from .limits import EPSILON, by_descent, by_model, by_projection, correlation, predicted, pruning_limits
from .retraining import new_small, role_of_retraining
from .robustness import critical, critical_share, sgd_robustness
from .shared import (
    SPARSE,
    STABLE,
    TICKET,
    VERDICTS,
    Contingency,
    Table,
    Text,
    Verdict,
    contingency,
    contrast_name,
    largest_error,
    last_matching,
    matching,
    percent,
    points,
    reach,
    sparsest_matching,
    table,
    tolerance,
)
from .tickets import CONTROLS, tickets_and_stability, winning_tickets

__all__ = [
    "CONTROLS", "EPSILON", "SPARSE", "STABLE", "TICKET", "VERDICTS", "Contingency", "Table", "Text", "Verdict",
    "by_descent", "by_model", "by_projection", "claims", "connected_and_matching", "contingency", "contrast_name",
    "correlation", "critical", "critical_share", "distant_levels", "error_barriers", "largest_error", "last_matching",
    "matching", "new_small", "percent", "points", "predicted", "pruning_limits", "reach", "role_of_retraining",
    "sgd_robustness", "sparsest_matching", "table", "tickets_and_stability", "tolerance", "winning_tickets",
]  # fmt: skip


def claims(preset="book") -> dict:
    """The verdict table of each of the paper's claims, by the claim's name."""

    def recorded(*names):
        return [getattr(experiments, name)(preset) for name in names]

    return {
        "C0": winning_tickets(*recorded("winning_tickets", "controls", "instability")),
        "C1": error_barriers(*recorded(
            "winning_tickets", "successive_barriers", "all_pairs", "projections", "failing_masks", "contrast"
        )),
        "C2": sgd_robustness(*recorded("robustness", "forgiveness")),
        "C3": pruning_limits(*recorded(
            "spectra", "projected", "descents", "winning_tickets", "controls", "adaptive"
        )),
        "C4": role_of_retraining(*recorded("refilling", "without_retraining", "winning_tickets")),
    }  # fmt: skip


def numbers(preset="book") -> dict:
    """The numbers that the prose can quote, by name, as text."""
    seconds = sum(getattr(experiments, name)(preset).about["seconds"] for name in experiments.EXPERIMENTS)
    made = {"record hours": f"{seconds / 3600:.1f} hours"}
    for claim, rows in claims(preset).items():
        found = [row.verdict for row in rows]
        counts = [f"{found.count(verdict)} {said}" for verdict, said in VERDICTS.items() if verdict in found]
        made[f"verdicts {claim}"] = ", ".join(counts)
    chapters = (tickets, barriers, robustness, limits, retraining)
    return made | {name: text for chapter in chapters for name, text in chapter.numbers(preset).items()}
