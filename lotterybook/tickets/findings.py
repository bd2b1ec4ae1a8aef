"""Findings of chapter 1."""

from ..verdicts import (
    FAILS,
    HOLDS,
    STABLE,
    TICKET,
    Table,
    Verdict,
    largest_error,
    majority,
    of,
    percent,
    points,
    reach,
    rewind_steps,
    sparsest_matching,
    tolerance,
)
from . import experiments

CONTROLS = {
    "random_mask": "a random mask",
    "shuffled_mask": "the shuffled mask",
    "reinitialized": "reinitialized weights",
    "one_shot": "one-shot pruning",
    "learning_rate_rewinding": "learning-rate rewinding",
}
QUOTED_LEVELS = 5, 8, 12  # whose errors the prose quotes


def first_stable(instability):
    """The index of the first step at which the mean instability is below ``STABLE``, ``None`` if there is none."""
    below = (instability["height"].mean(1) < STABLE).tolist()
    return below.index(True) if True in below else None


def tickets_and_stability(tickets, instability) -> Table:
    """The verdicts on IMP itself: that it finds tickets, from where, and what that has to do with stability."""
    dense, epsilon = tickets["error"][0, 0], tolerance(tickets)
    steps, level = rewind_steps(tickets), sparsest_matching(tickets)
    won = (level >= TICKET).tolist()
    first = first_stable(instability)
    stable = float("inf") if first is None else rewind_steps(instability)[first]
    late = [w for k, w in zip(steps, won, strict=True) if k >= stable]
    early = not any(w for k, w in zip(steps, won, strict=True) if k < stable)
    working = ", ".join(str(k) for k, w in zip(steps, won, strict=True) if w)
    working = f"k = {working}" if working else "none"
    return Table([
        Verdict(
            "IMP with rewinding finds matching sparse subnetworks",
            f"fewest weights down to which the mean error stays within ε = {points(epsilon, 2)} of the dense "
            f"{percent(dense)}; holds if some k > 0 matches for {TICKET} levels or more",
            "; ".join(f"k = {k}: {reach}" for k, reach in zip(steps, reach(tickets), strict=True)),
            HOLDS if any(won[1:]) else FAILS,
        ),
        Verdict(
            f"Rewound to k = {steps[0]} it finds none",
            "error at level 1 minus mean dense error; holds if the mean is above ε",
            points(tickets["error"][1, 0] - dense.mean()),
            HOLDS if float((tickets["error"][1, 0] - dense.mean()).mean()) > epsilon else FAILS,
        ),
        Verdict(
            "IMP works from where the dense network is stable to SGD noise, and not before",
            f"smallest k with mean instability below {points(STABLE, 0)}; holds if the rewind steps from there on "
            f"match for {TICKET} levels and no earlier one does, partly if one half of this is so; if none "
            "from there on was run, the earlier ones decide",
            "none"
            if first is None
            else f"k = {stable}; {'' if late else 'no later rewind step run; '}IMP works at {working}",
            majority([all(late), early] if late else [early]),
        ),
    ])  # fmt: skip


def winning_tickets(tickets, control, instability) -> Table:
    """The verdicts of chapter 1."""
    rows = tickets_and_stability(tickets, instability)
    for name, called in CONTROLS.items():
        excess = control[name] - _imp(tickets, control)
        rows.append(
            Verdict(
                f"IMP beats {called}",
                f"the control's error minus IMP's at {percent(control['density'][-1], 0)} of the weights; holds if "
                "positive at every level measured, partly if at half of them or more",
                points(excess[-1]),
                majority((excess.mean(-1) > 0).tolist()),
            )
        )
    return rows


def _imp(tickets, control):
    """The error of IMP where the controls were measured, (n, R)."""
    return tickets["error"][control["level"]][:, rewind_steps(tickets).index(int(control["rewind_step"]))]


def numbers(preset) -> dict:
    """The numbers that chapter 1 quotes."""
    tickets, control = experiments.winning_tickets(preset), experiments.controls(preset)
    instability, plain = experiments.instability(preset), experiments.contrast(preset)
    named = _errors(tickets)
    for prefix, record in (("", tickets), ("plain ", plain)):
        named |= {f"{prefix}matching k={k}": to for k, to in zip(rewind_steps(record), reach(record), strict=True)}
    for k, height in zip(rewind_steps(instability), instability["height"], strict=True):
        named[f"instability k={k}"] = points(height)
    for i, k in enumerate(rewind_steps(plain)):
        named[f"plain barrier k={k}"] = points(plain["barrier"][:, i].mean(0))
        named[f"plain instability k={k}"] = points(plain["instability"][i])
        named[f"plain miss k={k}"] = points(plain["error"][1, i].mean() - largest_error(plain), 2)
    named |= {f"excess {name}": points((control[name] - _imp(tickets, control))[-1]) for name in CONTROLS}
    named["random over shuffled"] = points((control["random_mask"] - control["shuffled_mask"])[-1])
    start = tickets["error"][control["level"], 0]  # IMP that starts at the initialization, as the reinitialized does
    named["reinitialized over start"] = points((control["reinitialized"] - start)[-1])
    named["fewest weights"] = percent(control["density"][-1], 0)
    return named


def _errors(tickets):
    """The numbers of IMP alone: errors, and how clearly each rewind step matches at its sparsest matching level."""
    limit = largest_error(tickets)
    named = {"epsilon": points(tolerance(tickets), 2), "dense error": percent(tickets["error"][0, 0])}
    named["replicates"] = str(tickets["error"].shape[-1])
    for i, (k, level) in enumerate(zip(rewind_steps(tickets), sparsest_matching(tickets).tolist(), strict=True)):
        named |= {f"error level={n} k={k}": percent(tickets["error"][n, i].mean()) for n in QUOTED_LEVELS}
        last = tickets["error"][level, i]
        named[f"margin k={k}"] = points(limit - last.mean(), 2)
        named[f"last matching k={k}"] = of(last <= limit)
    return named
