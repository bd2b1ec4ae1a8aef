"""Which examples are kept: datasets of some of another's examples, of more than it has, or with wrong labels."""

from dataclasses import replace

import torch

from lotterylib import checks, data

from ..experiment import OTHER, subset
from ..settings import ORDERS

DRAWS = 2  # of a random choice: replicates in as many groups see each their own


def choose(score, labels, share, order, seed=0):
    """Indices, increasing, of a ``share`` of the examples of each class, int64 on the CPU.

    ``order``: those with the lowest ``score`` ``(N,)`` (``"easiest"``), the highest (``"hardest"``), or, whatever the
    score, as drawn by ``seed`` (``"random"``). Of a class with n examples ``round(share * n)`` are kept, one at least.
    Raises ``ValueError`` for an unknown order, unless 0 < ``share`` <= 1, and for a score that is not one number an
    example.
    """
    checks.choice("order", order, ORDERS)
    checks.within("share", share, 0, 1, open_low=True)
    labels, rank = torch.as_tensor(labels).cpu(), checks.array("score", score)
    if rank.shape != labels.shape or rank.isnan().any():
        found = f"score has shape {tuple(rank.shape)}" + (" and holds NaN" if rank.isnan().any() else "")
        raise ValueError(f"{found}; it must be {tuple(labels.shape)}, one number for each label")
    if order == "random":
        rank = torch.rand(len(labels), generator=torch.Generator().manual_seed(checks.whole("seed", seed, 0)))
    rank = -rank if order == "hardest" else rank
    kept = []
    for label in labels.unique():
        own = (labels == label).nonzero()[:, 0]
        kept.append(own[rank[own].argsort(stable=True)[: max(1, round(share * len(own)))]])
    return torch.cat(kept).sort().values


def portions(ds, score, share, order, seeds):
    """Yield datasets of a ``share`` of ``ds`` and, for each, the places in ``seeds`` of the replicates that see it.

    All replicates see the same easiest or hardest examples. Of random ones there are ``DRAWS`` choices, each for a
    group of replicates that follow each other, by the seed of its first.
    """
    count = min(DRAWS, len(seeds)) if order == "random" else 1
    for rows in torch.arange(len(seeds)).tensor_split(count):
        first, *_ = rows = rows.tolist()
        yield subset(ds, choose(score, ds.train_y, share, order, seeds[first])), rows


def pool(ds, size):
    """The dataset with ``size`` training examples: a random choice of its own, or more of them.

    MNIST-1D is generated, so more come from other draws of its generator, by the seeds ``OTHER + 1`` and so on. They
    are scaled as the others, and the test set stays. Raises ``ValueError`` for a size below 1, and for more examples
    than another dataset has.
    """
    own = len(ds.train_y)
    checks.whole("size", size, 1, None if ds.name == "mnist1d" else own)
    if size <= own:
        order = torch.randperm(own, generator=torch.Generator().manual_seed(OTHER))
        return subset(ds, order[:size].sort().values)
    x, y, seed = [ds.train_x], [ds.train_y], OTHER
    while sum(map(len, y)) < size:
        seed += 1
        drawn = data.mnist1d(seed)
        for part in ("train", "test"):
            x.append(torch.as_tensor(drawn[f"{part}_x"], device=ds.device))
            y.append(torch.as_tensor(drawn[f"{part}_y"], device=ds.device, dtype=torch.int64))
    return replace(ds, train_x=torch.cat(x)[:size], train_y=torch.cat(y)[:size])


def mislabelled(ds, share, seed=0):
    """The dataset with another label, drawn at random, for a ``share`` of the examples, and their indices, increasing.

    Raises ``ValueError`` unless 0 < ``share`` < 1.
    """
    checks.within("share", share, 0, 1, open_low=True, open_high=True)
    draw, y = torch.Generator().manual_seed(checks.whole("seed", seed, 0)), ds.train_y.cpu().clone()
    wrong = torch.randperm(len(y), generator=draw)[: max(1, round(share * len(y)))].sort().values
    y[wrong] = (y[wrong] + torch.randint(1, ds.num_classes, (len(wrong),), generator=draw)) % ds.num_classes
    return replace(ds, train_y=y.to(ds.device)), wrong
