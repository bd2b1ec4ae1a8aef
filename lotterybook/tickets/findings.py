"""Findings of chapter 1, claim C0: IMP finds highly sparse matching subnetworks, winning tickets.

The rule of C0 was written before the records of this testbed were made, those of our own questions before they were
looked at.
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
from .matching import (
    CONTROLS,
    EPSILON,
    above_imp,
    beside,
    compared_at,
    excess,
    imp_at,
    levels_matched,
    reach,
    stable_from,
    winning,
    within,
)

TICKETLESS = "random_mask", "shuffled_mask", "reinitialized"  # as sparse, without the ticket: these IMP has to beat


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
    return f"Rewound to step {k}, it matches down to {percent(tickets['density'][level], 0)} of the weights"


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
            "the shuffled mask",
        ),
        _stops_earlier(
            tickets, fresh, error["fresh_start"], "A mask does not carry its ticket to another initialization",
            "a fresh initialization, dense to step k and in IMP's mask from there on,",
        ),
        _stops_earlier(
            tickets, control, control["one_shot"], "Pruned all at once, the network stops matching earlier",
            "one-shot pruning",
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
    more, name = (error - imp_at(tickets, record))[max(own, 1) - 1], called.partition(",")[0].capitalize()
    return Verdict(
        claim,
        f"fewest weights, over the levels of the controls, down to which the mean error stays within half a point of "
        f"the dense one; holds if {called} stops matching at more weights than IMP; partly if at the same, and its "
        "mean error is larger there",
        f"{name} matches {_down_to(record, other)}, IMP {_down_to(record, own)}, where it errs {points(more)} less",
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
        f"Learning-rate rewinding matches {_down_to(control, other)}, IMP {_down_to(control, own)}",
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
        f"Stable: {_steps(stable)}; with tickets: {_steps(winners)}",
        UNTESTED if not (stable and winners) else HOLDS if every and only else PARTLY if every or only else FAILS,
    )


def _steps(steps):
    return f"k = {', '.join(map(str, steps))}" if steps else "none"


def row(preset, recompute=False, device="auto") -> Verdict:
    """The row of claim C0."""
    return winning_ticket(*(recorded(name, preset, recompute, device) for name in ("winning_tickets", "controls")))


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
    names = "winning_tickets", "controls", "fresh_starts", "instability", "contrast"
    tickets, control, fresh, instability, plain = (recorded(name, preset) for name in names)
    dense, at = tickets["error"][0, 0], compared_at(tickets, control)
    named = {
        "replicates": f"{len(dense)}", "dense error": percent(dense), "dense spread": points(dense.std(), 2),
        "fewest weights": percent(tickets["density"][reach(tickets).max()], 0),
    }  # fmt: skip
    for prefix, record in (("", tickets), ("plain ", plain)):
        for k, level in zip(rewind_steps(record), reach(record).tolist(), strict=True):
            named[f"{prefix}matching k={k}"] = percent(record["density"][level], 0)
    for k, height in zip(rewind_steps(instability), instability["height"], strict=True):
        named[f"instability k={k}"] = points(height)
    if at is not None:
        named["compared at"] = percent(control["density"][at], 0)
        for name, above in above_imp(tickets, control, fresh).items():
            named[f"excess {name}"] = points(above[at])
    if kept := levels_matched(control["learning_rate_rewinding"], tickets):
        named["matching learning_rate_rewinding"] = percent(control["density"][kept - 1], 0)
    return named
