"""The evidence for claim C0: IMP finds highly sparse matching subnetworks, winning tickets.

Written before the records of this testbed were made: the rule of the verdict, and the tolerance of matching,
half a point above the mean dense error, where the authors' pilot draws its line.
"""

from ..experiment import recorded
from ..verdicts import (
    FAILS,
    HOLDS,
    PARTLY,
    SPARSE,
    STABLE,
    UNTESTED,
    Verdict,
    of,
    percent,
    points,
    rewind_steps,
)

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
TICKETLESS = "random_mask", "shuffled_mask", "reinitialized"  # as sparse, without the ticket: these IMP has to beat


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


def above_imp(tickets, control, fresh):
    """Error of each control above IMP's at the same rewind step, level and replicate, (n, R), by name.

    ``fresh`` is the record of fresh starts, whose levels may be others than those of ``control``.
    """
    named = {name: (control, name) for name in CONTROLS if name in control} | {"fresh_start": (fresh, "error")}
    return {name: record[entry] - imp_at(tickets, record) for name, (record, entry) in named.items()}


def imp_at(tickets, record):
    """IMP's error at the rewind step and the levels of a record of controls, (n, R)."""
    return tickets["error"][record["level"]][:, rewind_steps(tickets).index(int(record["rewind_step"]))]


def compared_at(tickets, control):
    """The index of the sparsest level of the controls at which IMP matches by the mean; ``None``: at none of them."""
    mean = imp_at(tickets, control).mean(-1) - tickets["error"][0].mean()
    matching = within(mean, EPSILON).nonzero()
    return int(matching[-1]) if len(matching) else None


def first_stable(instability):
    """The first k from which on the mean instability stays below ``STABLE``; ``None`` if there is none."""
    stable = (instability["height"].mean(1) < STABLE).flip(0).long().cumprod(0).flip(0).tolist()
    return rewind_steps(instability)[stable.index(1)] if 1 in stable else None


def winning_ticket(tickets, control) -> Verdict:
    """The verdict on C0."""
    later = [k > 0 for k in rewind_steps(tickets)]
    at, dense = compared_at(tickets, control), tickets["error"][0]
    if not dense.isfinite().all() or not any(later):
        verdict = UNTESTED
    elif not winning(tickets)[later].any():
        verdict = FAILS
    else:
        verdict = HOLDS if at is not None and _beaten(tickets, control, at) else PARTLY
    return Verdict(
        "IMP finds highly sparse matching subnetworks, winning tickets",
        f"fewest weights down to which the mean error stays within half a point of the mean dense error; holds if some "
        f"k > 0 matches below {percent(SPARSE, 0)} of the weights and, at the sparsest level of the controls where IMP "
        "matches, its mean error is below that of a random mask, of its mask shuffled, and of its mask on a fresh "
        "initialization; partly if only the first is so",
        f"{_reached(tickets)}; dense {percent(dense[0], 2)}, whose standard deviation is {points(dense[0].std(), 2)}; "
        + _excesses(tickets, control, at),
        verdict,
    )


def _beaten(tickets, control, at):
    own = imp_at(tickets, control)[at].mean()
    return all(own < control[name][at].mean() for name in TICKETLESS)


def _reached(tickets):
    """How far each rewind step matches, with the replicates that match there."""
    limit, told = excess(tickets), []
    for i, (k, level) in enumerate(zip(rewind_steps(tickets), reach(tickets).tolist(), strict=True)):
        there = of(within(limit[level, i], EPSILON))
        told.append(f"k = {k}: {percent(tickets['density'][level], 0)} ({there})" if level > 0 else f"k = {k}: none")
    return "; ".join(told)


def _excesses(tickets, control, at):
    if at is None:
        return "IMP matches at no level of the controls"
    own = imp_at(tickets, control)[at]
    told = ", ".join(f"{CONTROLS[name]} {points(control[name][at] - own)}" for name in TICKETLESS)
    return f"above IMP at {percent(control['density'][at], 0)}: {told}"


def row(preset) -> Verdict:
    """The row of claim C0."""
    return winning_ticket(recorded("winning_tickets", preset), recorded("controls", preset))


def sentences(preset) -> list:
    """What was found about C0, for the editor."""
    names = "winning_tickets", "controls", "fresh_starts", "instability", "contrast"
    tickets, control, fresh, instability, plain = (recorded(name, preset) for name in names)
    dense, steps = tickets["error"][0, 0], rewind_steps(tickets)
    won = [k for k, win in zip(steps, winning(tickets).tolist(), strict=True) if win]
    told = [
        f"The dense network errs on {percent(dense, 2)} of the test set ({len(dense)} replicates); half a point above "
        f"that a network matches (the standard deviation over replicates is {points(dense.std(), 2)}).",
        f"Matching without a gap, in the mean, down to so many weights (in brackets the replicates that match there): "
        f"{_reached(tickets)}.",
        f"Rewind steps that win tickets, which match below {percent(SPARSE, 0)} of the weights: "
        f"{', '.join(map(str, won)) or 'none'}.",
    ]
    for name, value in above_imp(tickets, control, fresh).items():
        record = fresh if name == "fresh_start" else control
        by_level = ", ".join(
            f"{points(one)} at {percent(kept, 0)}"
            for one, kept in zip(value, record["density"].tolist(), strict=True)
        )  # fmt: skip
        told.append(f"Above IMP's error, k = {int(control['rewind_step'])}, {CONTROLS[name]}: {by_level}.")
    heights = ", ".join(
        f"{points(height)} at k = {k}"
        for k, height in zip(rewind_steps(instability), instability["height"], strict=True)
    )
    stable = first_stable(instability)
    told.append(
        f"Instability of the dense network: {heights}. "
        + ("At no step that was tried" if stable is None else f"From k = {stable} on")
        + f" it stays below {points(STABLE, 0)}, what Frankle et al. call stable."
    )
    told.append(
        f"The contrasting network, dense {percent(plain['error'][0, 0], 2)}: {_reached(plain)}; its instability: "
        + ", ".join(f"{points(h)} at k = {k}" for k, h in zip(rewind_steps(plain), plain["instability"], strict=True))
        + "."
    )
    return told
