"""Findings of chapter 1, claim C0: IMP finds highly sparse matching subnetworks, winning tickets.

The rule of C0, those of our own questions and the tolerance of matching, half a point above the mean dense error, where
the authors' pilot draws its line, were written before the records of this testbed were made.
"""

from ..experiment import recorded
from ..verdicts import (
    FAILS,
    HOLDS,
    PARTLY,
    SPARSE,
    STABLE,
    UNTESTED,
    Table,
    Text,
    Verdict,
    of,
    percent,
    points,
    rewind_steps,
    table,
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
        f"{_furthest(tickets)}; {_nearest(tickets, control, at)}",
        verdict,
    )


def _beaten(tickets, control, at):
    own = imp_at(tickets, control)[at].mean()
    return all(own < control[name][at].mean() for name in TICKETLESS)


def _furthest(tickets):
    """How far the rewind step matches that matches furthest, the first of them."""
    reached = reach(tickets)
    level, k = int(reached.max()), rewind_steps(tickets)[int(reached.argmax())]
    return f"rewound to step {k}, it matches down to {percent(tickets['density'][level], 0)} of the weights"


def _nearest(tickets, control, at):
    """By how much the best of the three controls without a ticket errs more than IMP."""
    if at is None:
        return "it matches at no level of the controls"
    own, kept = imp_at(tickets, control)[at], percent(control["density"][at], 0)
    best = min(TICKETLESS, key=lambda name: control[name][at].mean())
    return f"at {kept} the best of the three others, {CONTROLS[best]}, errs {points(control[best][at] - own)} more"


def verdict(tickets, control) -> Table:
    """The verdict of chapter 1 on the claim of the abstract."""
    return Table([winning_ticket(tickets, control)])


def questions(tickets, control, fresh, instability) -> Table:
    """Verdicts on what this book asks beside the claim: what a ticket needs, and where it is found."""
    error = beside(control, fresh)
    return Table([
        _from_the_start(tickets),
        _stops_earlier(
            tickets, control, control["shuffled_mask"], "It matters which weights of a layer are kept",
            "its mask shuffled in each layer",
        ),
        _stops_earlier(
            tickets, fresh, error["fresh_start"], "The mask is of no use to another initialization",
            "its mask on a fresh initialization, dense to step k and masked from there on,",
        ),
        _stops_earlier(
            tickets, control, control["one_shot"], "Pruned all at once, the network stops matching earlier", "one-shot",
        ),
        _gets_as_far(tickets, control),
        _where_stable(tickets, instability),
    ])  # fmt: skip


def _from_the_start(tickets) -> Verdict:
    steps, won = rewind_steps(tickets), winning(tickets).tolist()
    at = dict(zip(steps, won, strict=True))
    later = any(win for k, win in at.items() if k > 0)
    stops = percent(tickets["density"][reach(tickets)[steps.index(0)]], 0) if 0 in at else ""
    return Verdict(
        "From the initialization there are none so sparse: rewinding to a later step is needed",
        f"holds if some k > 0 matches below {percent(SPARSE, 0)} of the weights and k = 0 does not",
        f"k = 0 matches down to {stops}" if stops else "k = 0 was not run",
        UNTESTED if 0 not in at or not later else FAILS if at[0] else HOLDS,
    )


def _stops_earlier(tickets, record, error, claim, called) -> Verdict:
    """Whether a control stops matching at more weights than IMP does, over the levels of its record."""
    own, other = (levels_matched(e, tickets) for e in (imp_at(tickets, record), error))
    more = (error - imp_at(tickets, record))[max(own, 1) - 1]
    return Verdict(
        claim,
        f"fewest weights, over the levels of the controls, down to which the mean error stays within half a point of "
        f"the dense one; holds if {called} stops matching at more weights than IMP; partly if at the same, and its "
        "mean error is larger there",
        f"it matches {_down_to(record, other)}, IMP {_down_to(record, own)}, where it errs {points(more)} more",
        UNTESTED if not own else HOLDS if other < own else PARTLY if other == own and more.mean() > 0 else FAILS,
    )


def _gets_as_far(tickets, control) -> Verdict:
    own, other = (
        levels_matched(error, tickets) for error in (imp_at(tickets, control), control["learning_rate_rewinding"])
    )
    return Verdict(
        "Weights need not go back: rewinding the learning rate alone gets as far",
        "fewest weights, over the levels of the controls, down to which the mean error stays within half a point of "
        "the dense one; holds if learning-rate rewinding matches down to as few as IMP or fewer",
        f"it matches {_down_to(control, other)}, IMP {_down_to(control, own)}",
        UNTESTED if not own else HOLDS if other >= own else FAILS,
    )


def _down_to(record, matched):
    return f"down to {percent(record['density'][matched - 1], 0)}" if matched else "at no level measured"


def _where_stable(tickets, instability) -> Verdict:
    """Whether the rewind steps that win tickets are those from which dense training is stable."""
    height = dict(zip(rewind_steps(instability), instability["height"].mean(1).tolist(), strict=True))
    won = dict(zip(rewind_steps(tickets), winning(tickets).tolist(), strict=True))
    both = [k for k in won if k in height]
    stable = [k for k in both if height[k] < STABLE]
    winners = [k for k in both if won[k]]
    every, only = all(won[k] for k in stable), set(winners) <= set(stable)
    return Verdict(
        "Tickets are found from where dense training is stable to SGD noise, and not before",
        f"holds if the rewind steps that match below {percent(SPARSE, 0)} of the weights are those whose mean "
        f"instability is below {points(STABLE, 0)}; partly if each stable one is among them, or each of them is stable",
        f"stable: {_steps(stable)}; with tickets: {_steps(winners)}",
        UNTESTED if not stable else HOLDS if every and only else PARTLY if every or only else FAILS,
    )


def _steps(steps):
    return f"k = {', '.join(map(str, steps))}" if steps else "none"


def row(preset) -> Verdict:
    """The row of claim C0."""
    return winning_ticket(recorded("winning_tickets", preset), recorded("controls", preset))


def by_step(tickets, instability) -> Text:
    """A table of the rewind steps: how far each matches, its replicates there, its instability."""
    unstable = dict(zip(rewind_steps(instability), instability["height"], strict=True))
    limit, rows = excess(tickets), []
    for i, (k, level) in enumerate(zip(rewind_steps(tickets), reach(tickets).tolist(), strict=True)):
        rows.append([
            f"{k}", percent(tickets["density"][level], 0) if level else "no pruned level",
            points(limit[level, i].mean(), 2), of(within(limit[level, i], EPSILON)), percent(tickets["error"][-1, i]),
            points(unstable[k]) if k in unstable else "",
        ])  # fmt: skip
    sparsest = percent(tickets["density"][-1], 0)
    header = "k", "matches down to", "above the dense error", "replicates within", f"error at {sparsest}", "instability"
    return table(list(header), rows)


def by_control(tickets, control, fresh) -> Text:
    """A table of the controls: error above IMP's, by weights remaining."""
    levels, kept = control["level"].tolist(), [percent(density, 0) for density in control["density"]]
    rows = []
    for name, value in above_imp(tickets, control, fresh).items():
        at = dict(zip((fresh if name == "fresh_start" else control)["level"].tolist(), value, strict=True))
        rows.append([CONTROLS[name], *(points(at[level]) if level in at else "" for level in levels)])
    return table(["points above IMP, at", *kept], rows)


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
    stable = stable_from(instability)
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
    asked = questions(tickets, control, fresh, instability)
    return told + [f"Our question, {one.claim}: {one.verdict} ({one.value})." for one in asked]


def _reached(tickets):
    """How far each rewind step matches, with the replicates that match there."""
    limit, told = excess(tickets), []
    for i, (k, level) in enumerate(zip(rewind_steps(tickets), reach(tickets).tolist(), strict=True)):
        there = of(within(limit[level, i], EPSILON))
        told.append(f"k = {k}: {percent(tickets['density'][level], 0)} ({there})" if level > 0 else f"k = {k}: none")
    return "; ".join(told)


def numbers(preset="book") -> dict:
    """The numbers that chapter 1 quotes."""
    return {}


from .drawings import first_stable, tickets_and_stability  # noqa: E402, F401  until chapter 7 does without
