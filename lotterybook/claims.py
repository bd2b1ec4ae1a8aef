"""What the records say of the paper's claims: a verdict for each, and every number that the prose quotes."""

from .barriers import findings as barriers
from .diet import findings as diet
from .experiment import EXPERIMENTS as EXPERIMENTS  # now those of all rooms
from .experiment import experiments_of, recorded
from .limits import findings as limits
from .retraining import findings as retraining
from .robustness import findings as robustness
from .scale import findings as scale
from .synthesis import findings as synthesis
from .tickets import findings as tickets
from .verdicts import Table

ROOMS = {"C0": tickets, "C1": barriers, "C2": robustness, "C3": limits, "C4": retraining}  # by the claim they are on


def abstract(preset="book", recompute=False, device="auto") -> Table:
    """One row for each claim of the paper's abstract; C1's second sentence, on the mask, has its own."""
    rows = {claim: room.row(preset, recompute, device) for claim, room in ROOMS.items()}
    first, second = rows.pop("C0"), rows.pop("C1")
    return Table([first, second, barriers.mask_row(preset, recompute, device), *rows.values()])


def numbers(preset="book") -> dict:
    """The numbers that the prose can quote, by name, as text."""
    seconds = sum(recorded(name, preset).about["seconds"] for name in experiments_of(preset))
    named = {"record hours": f"{seconds / 3600:.1f} hours"}
    for room in (*ROOMS.values(), diet, scale, synthesis):
        named |= room.numbers(preset)
    return named
