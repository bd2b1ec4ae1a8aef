"""The rule that prunes as far as the training loss allows, against the loss of plain modules."""

import dataclasses
import math

import pytest
import torch
import twins
from torch import nn

from lotterybook.limits.adaptive import Adaptive
from lotterylib import imp, pruning


@pytest.mark.parametrize(("change", "match"), [({"rise": 0}, "rise is 0; it must be > 0"), ({"step": 0.7}, "step is")])
def test_adaptive_refuses(change, match):
    with pytest.raises(ValueError, match=match):
        Adaptive(**{"rise": 0.1, **change})


def test_an_adaptive_level_prunes_as_far_as_the_training_loss_allows(ds, net, config, tmp_path):
    rule = Adaptive(rise=0.05, step=0.1)
    config = dataclasses.replace(config, rewind_step=5, fraction=rule)
    run = imp.run(net, ds, config, tmp_path)
    x, y = ds.gather(torch.arange(len(ds.train_y)))

    def loss(state, mask):
        state = {name: t * mask[name] if name in mask else t for name, t in state.items()}
        each = [nn.functional.cross_entropy(twins.module(net, state, r).eval()(x), y) for r in range(2)]
        return float(sum(each).detach()) / 2

    chosen = []
    for before, after in zip(run.levels, run.levels[1:], strict=False):
        left = pruning.remaining(before.mask)[0]
        fractions = [step / 10 for step in range(1, 10)]
        kept = [int(left - math.ceil(f * int(left) - 1e-9)) for f in fractions]
        chosen.append(fractions[kept.index(int(pruning.remaining(after.mask)[0]))])
        limit = loss(before.state, before.mask) + 0.05
        assert loss(before.state, after.mask) <= limit or chosen[-1] == 0.1
        assert loss(before.state, pruning.magnitude(before.state, before.mask, chosen[-1] + 0.1)) > limit
    assert len(set(chosen)) > 1, "the test's own premise: the rule decides anew at every level"
    again = imp.run(net, ds, config, tmp_path)
    assert torch.equal(again.errors, run.errors) and torch.equal(again.densities, run.densities)


def test_it_stops_before_it_would_empty_a_layer(ds, net, config):
    run = imp.run(net, ds, dataclasses.replace(config, rewind_step=5, levels=1, fraction=Adaptive(1e9, 0.05)))
    assert all(keep.flatten(1).any(1).all() for keep in run[1].mask.values())
    assert run[1].density < 0.5
