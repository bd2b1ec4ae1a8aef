"""Findings of chapter 3."""

import torch

from ..presets import PRESETS
from ..tickets.experiments import winning_tickets
from ..verdicts import STABLE, Table, Verdict, grade, majority, of, percent, points, rewind_steps, spread, tolerance
from . import experiments


def critical(record, limit=STABLE, direction="random", never=None):
    """Length of a perturbation, in rewind distances, at which the barrier first exceeds ``limit``: (n, K, R).

    Between two lengths that were measured the barrier is taken to grow in a straight line, and from none at length 0.
    ``never``, by default the largest measured length, where the limit is never exceeded.
    """
    tried = scales(record, direction)
    scale, height = torch.tensor([0.0, *tried], dtype=torch.float64), record[direction].movedim(1, 0)
    height = torch.cat([torch.zeros_like(height[:1]), height])
    j = (height > limit).long().argmax(0).clamp_min(1)
    low, high = (height.gather(0, at[None])[0] for at in (j - 1, j))
    found = scale[j - 1] + (scale[j] - scale[j - 1]) * (limit - low) / (high - low)
    return torch.where((height > limit).any(0), found, tried[-1] if never is None else never)


def critical_share(record):
    """The same as a share of the length of the initialization's weights, (n, K, R)."""
    return critical(record) * record["distance"] / record["norm"]


def scales(record, direction):
    """The lengths that were tried in a direction, ``"random"`` or ``"pruning"``, a list."""
    return record.get(f"{direction}_scale", record["scale"]).tolist()


def returns(record, direction, scale):
    """Whether the mean barrier back is below 2 points after a perturbation of length ``scale``, (n, K)."""
    return record[direction][:, scales(record, direction).index(scale)].mean(-1) < STABLE


def as_with_order(record):
    """Whether it returns from a random perturbation of length 1 and from another data order alike, (n, k > 0)."""
    same = returns(record, "random", 1.0) == (record["order"].mean(-1) < STABLE)
    return same[:, record["rewind_step"] > 0]


def by_limit(record, tickets, scale):
    """Which replicates return after a random perturbation, by three limits, each (n, K, R): how to read "returns".

    A barrier below 2 points; one of at most epsilon; that, and an error of at most that of ``w^(L)`` and epsilon, so
    that the new solution lies in the LCS-set of the old.
    """
    s, epsilon = record["scale"].tolist().index(scale), tolerance(tickets)
    height, error = record["random"][:, s], record["random_error"][:, s]
    near = height <= epsilon
    return height < STABLE, near, near & (error <= tickets["error"][record["level"]][..., : error.shape[-1]] + epsilon)


def sgd_robustness(record, later) -> Table:
    """The verdicts of chapter 3, on claim C2."""
    steps = rewind_steps(record)
    late = [i for i, k in enumerate(steps) if k > 0]

    def row(claim, direction, scale):
        kept = returns(record, direction, scale)
        value = "; ".join(f"k = {k}: {int(kept[:, i].sum())} of {len(kept)} levels" for i, k in enumerate(steps) if k)
        rule = f"rewind steps k > 0 and levels with a mean barrier back below {points(STABLE, 0)} after a "
        rule += f"perturbation of length {scale:g}; holds from 90 % of them, partly from 50 %"
        return Verdict(claim, rule, value, grade(float(kept[:, late].double().mean()), 0.9, 0.5))

    rows = [
        row("SGD returns to the mode after a random perturbation as long as IMP's own", "random", 1.0),
        row("and along the direction in which IMP perturbs", "pruning", 1.0),
        row("and after one twice as long", "random", 2.0),
        row("and after one four times as long", "random", 4.0),
    ]
    if steps[0] == 0:
        lost = record["random"][:, record["scale"].tolist().index(1.0), 0].mean(-1)
        rows.append(
            Verdict(
                "From the initialization it does not return",
                f"mean barrier back after length 1, by level; holds if above {points(STABLE, 0)} at each",
                "; ".join(points(height) for height in lost),
                grade(float((lost > STABLE).double().mean()), 1.0, 0.5),
            )
        )
    same = as_with_order(record)
    rows.append(
        Verdict(
            "It is as robust to the perturbation as to another data order",
            "rewind steps k > 0 and levels at which it returns from both, or from neither; holds from 90 % of them, "
            "partly from 75 %",
            of(same),
            grade(float(same.double().mean())),
        )
    )
    rows.append(_later(later))
    return Table(rows)


def _later(later):
    """The verdict on our own question: whether the same perturbation is forgiven less at the last step than early."""
    s, steps = later["scale"].tolist().index(2.0), later["step"].tolist()
    barrier, error = later["barrier"][:, s], later["error"][:, s]
    worse = [bool(value[-1].mean() > value[0].mean()) for value in (barrier, error)]
    return Verdict(
        "(our question) Later perturbations are forgiven less",
        f"mean barrier back and mean error after length 2, at step {steps[0]} and at step {steps[-1]}; holds if both "
        "are higher at the later step, partly if one is",
        f"barrier {points(barrier[0])}, then {points(barrier[-1])}; error {percent(error[0])}, then "
        f"{percent(error[-1])}",
        majority(worse),
    )


def numbers(preset) -> dict:
    """The numbers that chapter 3 quotes."""
    record, later = experiments.robustness(preset), experiments.forgiveness(preset)
    same, k = as_with_order(record), PRESETS[preset].tickets.control_step
    named = {"perturbed replicates": str(record["random"].shape[-1]), "as with order": of(same)}
    named |= _returning(record, winning_tickets(preset)) | _directions(record, rewind_steps(record).index(k), k)
    first, double = (later["scale"].tolist().index(scale) for scale in (1.0, 2.0))
    for t, step in enumerate(later["step"].tolist()):
        named[f"later 2 step={step}"] = points(later["barrier"][t, double])
        named[f"later 4 step={step}"] = points(later["barrier"][t, later["scale"].tolist().index(4.0)])
        named[f"later error 2 step={step}"] = percent(later["error"][t, double])
    step = int(later["step"][0])
    named[f"last replicate later 1 step={step}"] = points(later["barrier"][0, first, -1])
    return named | _side_by_side(experiments.return_path(preset))


def _returning(record, tickets) -> dict:
    """The numbers on who returns and from how far, by rewind step: of all levels, of the sparsest, of some others."""
    named, lengths, shares = {}, critical(record), critical_share(record)
    limits = dict(zip(("2 points", "epsilon", "LCS"), by_limit(record, tickets, 1.0), strict=True))
    levels = record["level"].tolist()
    for i, k in enumerate(rewind_steps(record)):
        named |= {f"return by {limit} k={k}": of(kept[:, i]) for limit, kept in limits.items()}
        for n in (0, -1):
            named[f"critical level={levels[n]} k={k}"] = spread(lengths[n, i])
            named[f"critical share level={levels[n]} k={k}"] = percent(shares[n, i], 0)
        for n in (1, -1):
            at = f"level={levels[n]} k={k}"
            named |= {f"return by {limit} {at}": of(limits[limit][n, i]) for limit in ("2 points", "epsilon")}
        named[f"return from order level={levels[1]} k={k}"] = of(record["order"][1, i] < STABLE)
    return named


def _directions(record, i, k) -> dict:
    """The numbers on random and pruning direction at the rewind step of the controls, the i-th one."""
    named, levels, scales = {}, record["level"].tolist(), record["scale"].tolist()
    for n in (0, -1):
        for scale in (2.0, 3.0):
            for kind in ("random", "pruning"):
                height = record[kind][n, scales.index(scale), i]
                named[f"{kind} {scale:g} level={levels[n]} k={k}"] = points(height)
    for kind, height in (("random", record["random"][1, scales.index(1.0), i]), ("order", record["order"][1, i])):
        named[f"last replicate {kind} level={levels[1]} k={k}"] = points(height[-1])
    return named


def _side_by_side(path) -> dict:
    """The numbers on perturbed and unperturbed training side by side: distances after length 1, and cosines."""
    scales = path["scale"].tolist()
    distance = path["distance"][:, scales.index(1.0)]
    mean = distance.mean(-1)
    named = {"distance start 1": f"{mean[0]:.1f}", "distance most 1": f"{mean.max():.1f}"}
    for name, values in (("starts", distance[0]), ("ends", distance[-1])):
        named[f"distance {name} 1"] = ", ".join(f"{value:.1f}" for value in values.tolist())
    return named | {f"cosine {scale:g}": f"{path['cosine'][-1, s].mean():.2f}" for s, scale in enumerate(scales)}
