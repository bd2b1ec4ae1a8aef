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
    Contingency,
    Table,
    Verdict,
    contingency,
    contrast_name,
    matching,
    percent,
    points,
    sparsest_matching,
    tolerance,
)
from .tickets import CONTROLS, tickets_and_stability, winning_tickets

__all__ = [
    "CONTROLS", "EPSILON", "SPARSE", "STABLE", "TICKET", "Contingency", "Table", "Verdict", "by_descent", "by_model",
    "by_projection", "connected_and_matching", "contingency", "contrast_name", "correlation", "critical",
    "critical_share", "distant_levels", "error_barriers", "matching", "new_small", "percent", "points", "predicted",
    "pruning_limits", "role_of_retraining", "sgd_robustness", "sparsest_matching", "tickets_and_stability",
    "tolerance", "winning_tickets",
]  # fmt: skip


def numbers(preset="book") -> dict:
    """Every number that the prose quotes, by name, as text."""
    seconds = sum(getattr(experiments, name)(preset).about["seconds"] for name in experiments.EXPERIMENTS)
    made = {"record hours": f"{seconds / 3600:.1f} hours"}
    chapters = (tickets, barriers, robustness, limits, retraining)
    return made | {name: text for chapter in chapters for name, text in chapter.numbers(preset).items()}
