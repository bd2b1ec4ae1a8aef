"""The few numbers that tell the story: those in the last chapter's picture, and what the landing page quotes."""

from ..barriers.experiments import successive_barriers
from ..limits.experiments import spectra
from ..limits.readings import EPSILON as WELL
from ..limits.readings import RANDOM
from ..presets import PRESETS
from ..retraining.experiments import refilling
from ..robustness.experiments import blows
from ..tickets.experiments import winning_tickets
from ..tickets.matching import EPSILON, excess, reach, within
from ..verdicts import percent, points, rewind_steps


def story(preset, recompute=False, device="auto") -> dict:
    """What the picture tells of two rewind steps, the first and the one of the controls, tensors by name.

    ``density`` () and ``error`` (R,): the sparsest level down to which the later step matches without a gap;
    ``dense`` (R,): the dense error. ``barrier`` (R,): mean over its pairs of successive levels down to there, of which
    both match; ``failing`` (R,): mean over all pairs of the first step. ``blow`` (R,): successive-rewind distance as a
    share of the initialization's length, ``new_small`` (R,): share of what is pruned next that lies at or below the
    last threshold, both means over those levels. ``at_once`` (R,): the fraction of the dense network that the spectrum
    predicts can be pruned at random.
    """
    tickets, barriers, blow, spectrum, refilled = (
        made(preset, recompute, device) for made in (winning_tickets, successive_barriers, blows, spectra, refilling)
    )
    late = rewind_steps(tickets).index(PRESETS[preset].tickets.control_step)
    last = int(reach(tickets)[late])
    levels = slice(0, max(last, 1))
    share = (refilled["refilled"] / refilled["fraction"]).clamp(max=1)
    well = int((spectrum["epsilon"] - WELL).abs().argmin())
    return {
        "density": tickets["density"][last], "error": tickets["error"][last, late], "dense": tickets["error"][0, 0],
        "barrier": barriers["height"][levels, late].mean(0), "failing": barriers["height"][:, 0].mean(0),
        "blow": (blow["distance"] / blow["norm"][:-1])[levels, late].mean(0),
        "new_small": share[levels, late].mean(0), "at_once": spectrum["predicted"][0, well, RANDOM, 0],
    }  # fmt: skip


def numbers(preset="book") -> dict:
    """The numbers that landing page, README and last chapter quote, by name, as text."""
    told, tickets = story(preset), winning_tickets(preset)
    first = within(excess(tickets)[:, 0].mean(-1), EPSILON)
    return {
        "ticket kept": percent(told["density"], 0), "ticket error": percent(told["error"].mean(), 1),
        "barrier winning": points(told["barrier"].mean(), 2),
        "barrier failing": points(told["failing"].mean(), 0), "blow": percent(told["blow"].mean(), 0),
        "new small": percent(told["new_small"].mean(), 0), "at once": percent(told["at_once"].mean(), 0),
        "first matches": percent(tickets["density"][int(first.long().cumprod(0).sum()) - 1], 0),
    }  # fmt: skip
