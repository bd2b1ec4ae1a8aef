"""Scores of training examples: how far a network, early in its training, is from their labels."""

from typing import NamedTuple

import torch
from torch import Tensor
from torch.nn import functional as F

from . import checks
from .data import Dataset
from .networks import Network
from .states import State


class Scores(NamedTuple):
    """Of N training examples the ``mean`` over R replicates and its spread ``std``, ``(N,)``, of ``each`` ``(R, N)``.

    float64 on the CPU. ``std`` is that of replicates, not of their mean; NaN where there is only one.
    """

    mean: Tensor
    std: Tensor
    each: Tensor


@torch.no_grad()
def el2n(net: Network, state: State, ds: Dataset, batch_size=1000) -> Scores:
    """EL2N of every training example: ``||softmax(f(x)) - onehot(y)||``, from 0 to the square root of 2.

    Paul, Ganguli & Dziugaite (2021) average it over ten or more initializations, here the replicates of ``state``, a
    few epochs into training. In evaluation mode, without augmentation, ``batch_size`` examples at a time. Running
    statistics lag behind weights that move fast: ``landscape.recalibrate`` first. Raises ``ValueError`` for arguments
    that do not fit each other, and for logits that are not finite.
    """
    checks.kind("ds", ds, Dataset)
    checks.kind("net", net, Network).check(state)
    checks.labels("ds.train_y", ds.train_y, ds.train_x, net.try_on(ds.test_x))
    each = []
    for rows in torch.arange(len(ds.train_y), device=ds.device).split(checks.whole("batch_size", batch_size, 1)):
        x, y = ds.gather(rows)
        logits = net(state, x).double()
        each.append((logits.softmax(-1) - F.one_hot(y, logits.shape[-1])).norm(dim=-1).cpu())
    each = torch.cat(each, 1)
    if not each.isfinite().all():
        lost = (~each.isfinite().all(1)).nonzero().flatten().tolist()
        raise ValueError(f"logits are not finite in replicates {lost}; their training has diverged")
    return Scores(each.mean(0), each.std(0) if len(each) > 1 else torch.full_like(each[0], torch.nan), each)
