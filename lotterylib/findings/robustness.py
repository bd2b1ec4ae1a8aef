"""Findings of chapter 3."""

import torch

from .. import experiments
from .shared import FAILS, HOLDS, PARTLY, STABLE, Table, Verdict, grade, percent, points, rewind_steps


def critical(record):
    """Length of a random perturbation, in rewind distances, at which the mean barrier reaches 2 points: (n, K).

    Between two lengths that were measured the barrier is taken to grow in a straight line, and from none at length 0.
    Infinite where 2 points are never reached.
    """
    scale = torch.cat([torch.zeros(1, dtype=torch.float64), record["scale"]])
    found = torch.full(record["random"].shape[::2][:2], torch.inf, dtype=torch.float64)
    for n, i in ((n, i) for n in range(found.shape[0]) for i in range(found.shape[1])):
        height = torch.cat([torch.zeros(1, dtype=torch.float64), record["random"][n, :, i].mean(-1)])
        above = (height > STABLE).nonzero()
        if len(above):
            j = int(above[0, 0])
            share = (STABLE - height[j - 1]) / (height[j] - height[j - 1])
            found[n, i] = scale[j - 1] + share * (scale[j] - scale[j - 1])
    return found


def critical_share(record):
    """The same as a share of the length of the initialization's weights, (n, K)."""
    return critical(record) * (record["distance"] / record["norm"]).mean(-1)


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
        rule = f"rewind steps k > 0 and levels with a mean barrier back of at most {points(STABLE, 0)} after {scale:g} "
        rule += "rewind distances; holds from 90 % of them, partly from 50 %"
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
                f"mean barrier back after one rewind distance, by level; holds if above {points(STABLE, 0)} at each",
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
            f"barrier back after 2 rewind distances at step {int(later['step'][0])} and at step "
            f"{int(later['step'][-1])}; holds if only the first is at most {points(STABLE, 0)}, partly if it is lower",
            f"{points(early)}; {points(last)}",
            HOLDS if early.mean() <= STABLE < last.mean() else PARTLY if early.mean() < last.mean() else FAILS,
        )
    )
    return Table(rows)


def numbers(preset) -> dict:
    """The numbers that chapter 3 quotes."""
    record, named = experiments.robustness(preset), {}
    lengths, shares = critical(record), critical_share(record)
    for n, level in enumerate(record["level"].tolist()):
        for i, k in enumerate(rewind_steps(record)):
            named[f"critical level={level} k={k}"] = f"{float(lengths[n, i]):.1f}"
            named[f"critical share level={level} k={k}"] = percent(shares[n, i], 0)
            named[f"order level={level} k={k}"] = points(record["order"][n, i])
            for s, scale in enumerate(record["scale"].tolist()):
                for kind in ("random", "pruning"):
                    named[f"{kind} {scale:g} level={level} k={k}"] = points(record[kind][n, s, i])
    later = experiments.forgiveness(preset)
    for t, step in enumerate(later["step"].tolist()):
        for s, scale in enumerate(later["scale"].tolist()):
            named[f"later {scale:g} step={step}"] = points(later["barrier"][t, s])
    path = experiments.return_path(preset)
    for s, scale in enumerate(path["scale"].tolist()):
        distance = path["distance"][:, s].mean(-1)
        named[f"distance start {scale:g}"] = f"{float(distance[0]):.1f}"
        named[f"distance most {scale:g}"] = f"{float(distance.max()):.1f}"
        named[f"distance end {scale:g}"] = f"{float(distance[-1]):.1f}"
        named[f"cosine {scale:g}"] = f"{float(path['cosine'][-1, s].mean()):.2f}"
    named["travelled"] = f"{float(path['travelled'][-1].mean()):.1f}"
    return named
