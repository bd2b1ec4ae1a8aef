"""What chapter 7 still takes from the first edition of this room; to be deleted when it does without."""

from ..verdicts import (
    FAILS,
    HOLDS,
    STABLE,
    TICKET,
    Table,
    Verdict,
    majority,
    percent,
    points,
    reach,
    rewind_steps,
    sparsest_matching,
    tolerance,
)


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
