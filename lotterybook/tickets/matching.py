"""What matches, how far IMP and its controls do, and where training is stable.

The tolerance, half a point above the mean dense error, was fixed before the records of this testbed were made: where
the authors' pilot draws its line.
"""

from ..verdicts import SPARSE, STABLE, rewind_steps

EPSILON = 0.005  # of matching, and of connection: fixed, not fitted
_ROUNDING = 1e-9  # a mean of counted errors may lie exactly on the tolerance
CONTROLS = {
    "random_mask": "a random mask",
    "shuffled_mask": "IMP's mask shuffled in each layer",
    "reinitialized": "IMP's mask on a fresh initialization",
    "fresh_start": "IMP's mask on a fresh initialization that was trained to step k",
    "one_shot": "one-shot pruning",
    "learning_rate_rewinding": "learning-rate rewinding",
}


def within(values, epsilon):
    """Which values are at most ``epsilon``; NaN is not."""
    return values <= epsilon + _ROUNDING


def excess(tickets):
    """Test error above the mean dense error, (levels + 1, K, R)."""
    return tickets["error"] - tickets["error"][0].mean()


def reach(tickets, epsilon=EPSILON):
    """The last level down to which the mean error over replicates matches without a gap, for each rewind step, (K,)."""
    return within(excess(tickets).mean(-1), epsilon).long().cumprod(0).sum(0) - 1


def winning(tickets):
    """Which rewind steps win a ticket: they match down to fewer weights than ``SPARSE``, booleans (K,)."""
    return tickets["density"][reach(tickets).clamp_min(0)] < SPARSE


def beside(control, fresh):
    """The test error of each control, (n, R), by name, in the order of ``CONTROLS``.

    ``fresh`` is the record of fresh starts, whose levels may be others than those of ``control``.
    """
    return {name: fresh["error"] if name == "fresh_start" else control[name] for name in CONTROLS}


def above_imp(tickets, control, fresh):
    """Error of each control above IMP's at the same rewind step, level and replicate, (n, R), by name."""
    own = {name: imp_at(tickets, fresh if name == "fresh_start" else control) for name in CONTROLS}
    return {name: error - own[name] for name, error in beside(control, fresh).items()}


def imp_at(tickets, record):
    """IMP's error at the rewind step and the levels of a record of controls, (n, R)."""
    return tickets["error"][record["level"]][:, rewind_steps(tickets).index(int(record["rewind_step"]))]


def compared_at(tickets, control):
    """The index of the sparsest level of the controls at which IMP matches by the mean; ``None``: at none of them."""
    mean = imp_at(tickets, control).mean(-1) - tickets["error"][0].mean()
    matching = within(mean, EPSILON).nonzero()
    return int(matching[-1]) if len(matching) else None


def levels_matched(error, tickets):
    """At how many levels of a record of controls, from the densest on, the mean of ``error`` (n, R) matches."""
    return int(within(error.mean(-1) - tickets["error"][0].mean(), EPSILON).long().cumprod(0).sum())


def stable_from(instability):
    """The first k from which on the mean instability stays below ``STABLE``; ``None`` if there is none."""
    stable = (instability["height"].mean(1) < STABLE).flip(0).long().cumprod(0).flip(0).tolist()
    return rewind_steps(instability)[stable.index(1)] if 1 in stable else None
