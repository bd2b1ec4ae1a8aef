"""Findings of chapter 3."""

import torch

from .. import experiments
from .shared import FAILS, HOLDS, PARTLY, STABLE, Table, Verdict, grade, percent, points, rewind_steps


def critical(record):
    """Length of a random perturbation, in rewind distances, at which the barrier first reaches 2 points: (n, K, R).

    Between two lengths that were measured the barrier is taken to grow in a straight line, and from none at length 0.
    The largest measured length where 2 points are never reached.
    """
    none = torch.zeros(1, dtype=torch.float64)
    scale, height = torch.cat([none, record["scale"]]), record["random"].movedim(1, 0)
    height = torch.cat([torch.zeros_like(height[:1]), height])
    j = (height > STABLE).long().argmax(0).clamp_min(1)
    low, high = (height.gather(0, at[None])[0] for at in (j - 1, j))
    found = scale[j - 1] + (scale[j] - scale[j - 1]) * (STABLE - low) / (high - low)
    return torch.where((height > STABLE).any(0), found, scale[-1])


def critical_share(record):
    """The same as a share of the length of the initialization's weights, (n, K, R)."""
    return critical(record) * record["distance"] / record["norm"]


def sgd_robustness(record, later) -> Table:
    """The verdicts of chapter 3, on claim C2."""
    steps = rewind_steps(record)
    late = [i for i, k in enumerate(steps) if k > 0]

    def returns(direction, scale):
        at = record["scale"].tolist().index(scale)
        return record[direction][:, at].mean(-1) <= STABLE  # (n, K)

    def row(claim, direction, scale):
        kept = returns(direction, scale)
        value = "; ".join(f"k = {k}: {int(kept[:, i].sum())} of {len(kept)} levels" for i, k in enumerate(steps) if k)
        rule = f"rewind steps k > 0 and levels with a mean barrier back of at most {points(STABLE, 0)} after a "
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
    same = returns("random", 1.0) == (record["order"].mean(-1) <= STABLE)
    rows.append(
        Verdict(
            "It is as robust to the perturbation as to another data order",
            "rewind steps and levels at which it returns from both, or from neither; holds from 90 %, partly from 75 %",
            f"{int(same.sum())} of {same.numel()}",
            grade(float(same.double().mean())),
        )
    )
    middle = later["scale"].tolist().index(2.0)
    early, last = later["barrier"][0, middle], later["barrier"][-1, middle]
    rows.append(
        Verdict(
            "Early perturbations are forgiven, late ones are not",
            f"barrier back after length 2 at step {int(later['step'][0])} and at step "
            f"{int(later['step'][-1])}; holds if only the first is at most {points(STABLE, 0)}, partly if it is lower",
            f"{points(early)}; {points(last)}",
            HOLDS if early.mean() <= STABLE < last.mean() else PARTLY if early.mean() < last.mean() else FAILS,
        )
    )
    return Table(rows)


def numbers(preset) -> dict:
    """The numbers that chapter 3 quotes."""
    record, path = experiments.robustness(preset), experiments.return_path(preset)
    later = experiments.forgiveness(preset)
    named = {"perturbed replicates": str(record["random"].shape[-1])}
    lengths, shares = critical(record), critical_share(record)
    for n, level in enumerate(record["level"].tolist()):
        for i, k in enumerate(rewind_steps(record)):
            named[f"critical level={level} k={k}"] = f"{lengths[n, i].mean():.1f} ± {lengths[n, i].std():.1f}"
            named[f"critical share level={level} k={k}"] = percent(shares[n, i], 0)
    for t, step in enumerate(later["step"].tolist()):
        named[f"later 2 step={step}"] = points(later["barrier"][t, later["scale"].tolist().index(2.0)])
    for s, scale in enumerate(path["scale"].tolist()):
        distance = path["distance"][:, s].mean(-1)
        for name, value in (("start", distance[0]), ("most", distance.max()), ("end", distance[-1])):
            named[f"distance {name} {scale:g}"] = f"{value:.1f}"
        named[f"cosine {scale:g}"] = f"{path['cosine'][-1, s].mean():.2f}"
    return named
