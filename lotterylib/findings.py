"""What the records say: matching, connected, the verdict tables, and every number that the prose quotes.

Definitions are those of the notation page. A verdict follows from a rule that stands in its table; nobody edits it.
"""

from typing import NamedTuple

import torch

from . import experiments

HOLDS, PARTLY, FAILS = "holds", "holds partly", "does not hold"
TICKET = 3  # levels that have to match before we speak of a ticket: about half of the weights are gone then
SPARSE = 0.3  # fewer weights than this share remain at "high sparsity"
AGREE, AGREE_PARTLY = 0.9, 0.75  # share of cases from which a claim holds, or holds partly
STABLE = 0.02  # instability below which Frankle et al. (2020) call a network stable

CONTROLS = {
    "random_mask": "a random mask",
    "shuffled_mask": "the shuffled mask",
    "reinitialized": "reinitialized weights",
    "one_shot": "one-shot pruning",
    "learning_rate_rewinding": "learning-rate rewinding",
}


class Verdict(NamedTuple):
    """One row of a verdict table; ``verdict`` is ``HOLDS``, ``PARTLY`` or ``FAILS``."""

    claim: str
    measure: str
    value: str
    verdict: str


class Table(list):
    """Verdicts that a notebook shows as a table."""

    def _repr_markdown_(self):
        rows = ["| claim | measure | value | verdict at this scale |", "|---|---|---|---|"]
        return "\n".join(rows + [f"| {v.claim} | {v.measure} | {v.value} | **{v.verdict}** |" for v in self])


def tolerance(tickets) -> float:
    """The epsilon of epsilon-matching: the standard deviation of the dense error over replicates."""
    return float(tickets["error"][0, 0].std())


def matching(tickets, epsilon=None):
    """Which solutions match: ``E <= mean dense E + epsilon``, booleans (levels + 1, K, R)."""
    epsilon = tolerance(tickets) if epsilon is None else epsilon
    return tickets["error"] <= float(tickets["error"][0].mean()) + epsilon


def sparsest_matching(tickets):
    """For each rewind step the last level up to which the mean error over replicates always matches, ``(K,)``."""
    dense = float(tickets["error"][0].mean())
    ok = tickets["error"].mean(-1) <= dense + tolerance(tickets)
    return ok.long().cumprod(0).sum(0) - 1


class Contingency(NamedTuple):
    """Counts of pairs of successive levels: connected or not, both ends matching or not."""

    both: int
    only_matching: int
    only_connected: int
    neither: int

    @property
    def agreement(self) -> float:
        """Share of pairs that are connected and matching, or neither."""
        return (self.both + self.neither) / max(1, sum(self))

    @property
    def chance(self) -> float:
        """The agreement that the same shares of matching and of connected pairs would give if they were independent."""
        match, joined = self.both + self.only_matching, self.both + self.only_connected
        total = max(1, sum(self))
        return (match * joined + (total - match) * (total - joined)) / total**2

    @property
    def matching_connected(self) -> float:
        """Share of matching pairs that are connected: the "if"."""
        return self.both / max(1, self.both + self.only_matching)

    @property
    def connected_matching(self) -> float:
        """Share of connected pairs that match: the "only if"."""
        return self.both / max(1, self.both + self.only_connected)


def contingency(tickets, barrier, epsilon=None, sparse=None) -> Contingency:
    """Count successive pairs by connected (barrier <= epsilon) and matching (both ends), over rewind, replicate, level.

    ``barrier`` (levels, K, R); ``sparse=True`` counts only pairs whose sparser end keeps fewer than ``SPARSE`` of the
    weights, ``False`` only the others, ``None`` all.
    """
    epsilon = tolerance(tickets) if epsilon is None else epsilon
    match = matching(tickets, epsilon)
    match = match[:-1] & match[1:]
    connected = barrier <= epsilon
    if sparse is not None:
        chosen = (tickets["density"][1:] < SPARSE) == sparse
        match, connected = match[chosen], connected[chosen]
    counts = (match & connected, match & ~connected, ~match & connected, ~match & ~connected)
    return Contingency(*(int(count.sum()) for count in counts))


def contrast_name(record) -> str:
    """What sets the network of a contrast apart, from the settings of its record."""
    arm = record.about["settings"]["plain"]
    if arm["network"].endswith("plain"):
        return "without BatchNorm"
    return f"at learning rate {arm['config']['recipe']['lr']}"


def percent(value, digits=1) -> str:
    """Write a rate in [0, 1], or a tensor of them as mean ± standard deviation, in percent."""
    value = torch.as_tensor(value, dtype=torch.float64)
    spread = f" ± {100 * value.std():.{digits}f}" if value.numel() > 1 else ""
    return f"{100 * value.mean():.{digits}f}{spread} %".replace("-", "−")


def points(value, digits=1) -> str:
    """Write a difference of rates, or a tensor of them as mean ± standard deviation, in percentage points."""
    return percent(value, digits).replace(" %", " points")


def tickets_and_stability(tickets, instability) -> Table:
    """The verdicts on IMP itself: that it finds tickets, from where, and what that has to do with stability."""
    dense, epsilon = tickets["error"][0, 0], tolerance(tickets)
    steps, level = _steps(tickets), sparsest_matching(tickets)
    won = (level >= TICKET).tolist()
    stable = (instability["height"].mean(1) < STABLE).tolist()
    stable = [k for k, is_stable in zip(_steps(instability), stable, strict=True) if is_stable]
    expected = [bool(stable) and k >= stable[0] for k in steps]
    return Table([
        Verdict(
            "IMP with rewinding finds matching sparse subnetworks",
            f"fewest weights down to which the mean error stays within ε = {points(epsilon, 2)} of the dense "
            f"{percent(dense)}; holds if some k > 0 matches for {TICKET} levels or more",
            "; ".join(f"k = {k}: {reach}" for k, reach in zip(steps, _reach(tickets), strict=True)),
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
            f"match for {TICKET} levels and no earlier one does, partly if one half of this is so",
            f"k = {stable[0]}; IMP works at k = {', '.join(str(k) for k, w in zip(steps, won, strict=True) if w)}"
            if stable
            else "none",
            _verdict([all(w for w, e in zip(won, expected, strict=True) if e),
                      not any(w for w, e in zip(won, expected, strict=True) if not e)]),
        ),
    ])  # fmt: skip


def winning_tickets(tickets, control, instability) -> Table:
    """The verdicts of chapter 1."""
    rows = tickets_and_stability(tickets, instability)
    imp = tickets["error"][control["level"]][:, _steps(tickets).index(int(control["rewind_step"]))]
    for name, called in CONTROLS.items():
        excess = control[name] - imp
        rows.append(
            Verdict(
                f"IMP beats {called}",
                f"its excess error at {percent(control['density'][-1], 0)} of the weights; holds if positive at every "
                "level measured, partly if at half of them or more",
                points(excess[-1]),
                _verdict((excess.mean(-1) > 0).tolist()),
            )
        )
    return rows


def connected_and_matching(tickets, barriers) -> Table:
    """The verdicts on claim C1: for all pairs of successive levels, for those of many weights and of few."""
    split = {"": None, f", more than {percent(SPARSE, 0)} of the weights left": False, ", fewer left": True}
    claim = "Successive solutions are connected if and only if they match"
    return Table(_iff(f"{claim}{where}", tickets, barriers["height"], sparse) for where, sparse in split.items())


def distant_levels(tickets, barriers, pairs) -> Verdict:
    """The verdict on whether successive levels connect where distant ones do not."""
    far = _distant(tickets, barriers, pairs)
    return Verdict(
        "Successive levels connect where distant ones do not",
        "runs, of those connected at level 1, in which the dense network has a barrier above 2 ε to some level "
        "though every step on the way there is connected; holds from one half of them, partly from one quarter",
        f"{int((far > 0).sum())} of {int((far >= 0).sum())} runs",
        _grade(float((far > 0).sum()) / max(1, int((far >= 0).sum())), 0.5, 0.25),
    )


def error_barriers(tickets, barriers, pairs, projected, failing, plain) -> Table:
    """The verdicts of chapter 2."""
    epsilon = tolerance(tickets)
    rows = connected_and_matching(tickets, barriers)
    rows.append(_iff("The same from the projection to the next solution", tickets, projected["height"], None))
    rows.append(_iff(f"The same {contrast_name(plain)}, all pairs", plain, plain["barrier"], None))
    rows.append(distant_levels(tickets, barriers, pairs))
    early = failing["density"] > SPARSE
    away = {name: failing[name][early] for name in ("own", "failing", "random")}
    rows.append(
        Verdict(
            "The mask, not only the rewind point, leads back to the mode",
            f"barrier back to the level before, above {percent(SPARSE, 0)} of the weights: own mask; failing mask; "
            "random mask; holds if own is within ε and both others are above, partly if own is the lowest",
            "; ".join(points(value.flatten()) for value in away.values()),
            HOLDS
            if away["own"].mean() <= epsilon < min(away["failing"].mean(), away["random"].mean())
            else PARTLY
            if away["own"].mean() < min(away["failing"].mean(), away["random"].mean())
            else FAILS,
        )
    )
    return rows


def _iff(claim, tickets, barrier, sparse):
    """The verdict on one contingency table: as good as the worse of its two halves."""
    count = contingency(tickets, barrier, sparse=sparse)
    match, joined = count.both + count.only_matching, count.both + count.only_connected
    return Verdict(
        claim,
        f"*if*: matching pairs that are connected; *only if*: connected pairs that match; holds if both are at least "
        f"{percent(AGREE, 0)}, partly from {percent(AGREE_PARTLY, 0)}",
        f"*if* {count.both} of {match}; *only if* {count.both} of {joined}; both or neither "
        f"{percent(count.agreement, 0)} of {sum(count)} ({percent(count.chance, 0)} by chance)",
        _grade(min(count.matching_connected, count.connected_matching)),
    )


def _distant(tickets, barriers, pairs):
    """Per run, the first level apart from the dense one though all steps to it connect; 0: none; -1: apart at once."""
    epsilon = tolerance(tickets)
    joined = (barriers["height"] <= epsilon).long().cumprod(0).bool()
    apart = (pairs["height"][0, 1:] > 2 * epsilon) & joined
    first = torch.where(apart.any(0), apart.long().argmax(0) + 1, 0)
    return torch.where(joined[0], first, -1)


def numbers(preset="book") -> dict:
    """Every number that the prose quotes, by name, as text."""
    seconds = sum(getattr(experiments, name)(preset).about["seconds"] for name in experiments.EXPERIMENTS)
    made = {"record hours": f"{seconds / 3600:.1f} hours"}
    return made | _numbers_of_tickets(preset) | _numbers_of_barriers(preset)


def _numbers_of_tickets(preset):
    tickets, control = experiments.winning_tickets(preset), experiments.controls(preset)
    instability, plain = experiments.instability(preset), experiments.contrast(preset)
    named = {"epsilon": points(tolerance(tickets), 2), "dense error": percent(tickets["error"][0, 0])}
    named["replicates"] = str(tickets["error"].shape[-1])
    for prefix, record in (("", tickets), ("plain ", plain)):
        named |= {f"{prefix}matching k={k}": to for k, to in zip(_steps(record), _reach(record), strict=True)}
    for k, height in zip(_steps(instability), instability["height"], strict=True):
        named[f"instability k={k}"] = points(height)
    for i, k in enumerate(_steps(plain)):
        named[f"plain barrier k={k}"] = points(plain["barrier"][:, i].mean(0))
    imp = tickets["error"][control["level"]][:, _steps(tickets).index(int(control["rewind_step"]))]
    named |= {f"excess {name}": points((control[name] - imp)[-1]) for name in CONTROLS}
    named["fewest weights"] = percent(control["density"][-1], 0)
    return named


def _numbers_of_barriers(preset):
    tickets, barriers = experiments.winning_tickets(preset), experiments.successive_barriers(preset)
    pairs, failing = experiments.all_pairs(preset), experiments.failing_masks(preset)
    epsilon, named = tolerance(tickets), {}
    for i, k in enumerate(_steps(barriers)):
        named[f"barrier k={k}"] = points(barriers["height"][:, i].mean(0))
        named[f"recalibrated k={k}"] = points(barriers["recalibrated"][:, i].mean(0))
        joined = (barriers["height"][:, i].mean(-1) <= epsilon).long().cumprod(0).sum()
        named[f"connected k={k}"] = percent(barriers["density"][joined], 0)
        near = pairs["height"][:, :, i].mean(-1) <= epsilon
        named[f"block k={k}"] = str(max(n for n in range(len(near)) if near[: n + 1, : n + 1].all()))
    named["mask weights"] = percent(failing["density"][1], 0)
    named |= {f"{arm} barrier": points(failing[arm][1]) for arm in ("own", "failing", "random")}
    every, sparse = (contingency(tickets, barriers["height"], sparse=part) for part in (None, True))
    named |= {"agreement all": percent(every.agreement, 0), "agreement sparse": percent(sparse.agreement, 0)}
    named |= {"chance sparse": percent(sparse.chance, 0), "sparse pairs": str(sum(sparse))}
    named["sparse matching"] = str(sparse.both + sparse.only_matching)
    named["sparse only connected"] = str(sparse.only_connected)
    return named


def _reach(tickets):
    """For each rewind step the fewest weights down to which it matches, as text."""
    return [percent(tickets["density"][level], 0) if level else "none" for level in sparsest_matching(tickets)]


def _steps(record):
    return record["rewind_step"].tolist()


def _grade(share, holds=AGREE, partly=AGREE_PARTLY):
    return HOLDS if share >= holds else PARTLY if share >= partly else FAILS


def _verdict(checks):
    """``HOLDS`` if all are true, ``PARTLY`` if at least half are, ``FAILS`` otherwise."""
    return HOLDS if all(checks) else PARTLY if 2 * sum(checks) >= len(checks) else FAILS
