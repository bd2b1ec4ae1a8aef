"""Perturbations: exact lengths and supports, and what comes of them where the answer is known."""

import dataclasses

import pytest
import torch
import twins
from torch import nn
from torch.testing import assert_close

from lotterylib import landscape, networks, perturbation, pruning, states, training


@pytest.fixture(scope="module")
def point(net):
    """A state of three replicates, a mask, and a later one."""
    state = net.init(3, seed=1)
    before = pruning.random(state, pruning.full(net, state), 0.3, seed=2)
    return state, before, pruning.magnitude(state, before, 0.2)


def by_hand(tree):
    """Length of each replicate of a tree of tensors."""
    rows = [torch.cat([tensor[r].double().flatten() for tensor in tree.values()]) for r in range(3)]
    return torch.stack([(row**2).sum().sqrt() for row in rows])


@pytest.mark.parametrize("norm", [0.0, 2.5, [0.1, 3.0, 70.0]])
def test_a_random_direction_has_its_length_and_stays_in_the_subspace(point, norm):
    state, mask, _ = point
    direction = perturbation.random_direction(state, mask, norm, seed=4)
    expected = torch.tensor(norm, dtype=torch.float64).expand(3)
    assert_close(states.length(direction), expected, rtol=1e-6, atol=0)
    assert_close(by_hand(direction), expected, rtol=1e-6, atol=0)
    assert direction.keys() == state.keys()
    for name, tensor in direction.items():
        assert tensor.shape == state[name].shape and tensor.dtype == state[name].dtype
        outside = tensor[~mask[name]] if name in mask else tensor
        assert (outside == 0).all()


def test_a_random_direction_is_gaussian_and_follows_its_seed(point):
    state, mask, _ = point
    one = perturbation.random_direction(state, mask, 1.0, seed=4)
    kept = torch.cat([one[name][0][keep[0]] for name, keep in mask.items()]) * len(one) ** 0.5
    kept = kept / kept.std()
    assert abs(float(kept.mean())) < 0.3 and abs(float((kept**4).mean()) - 3) < 1.2  # kurtosis 3, of uniform 1.8
    again = perturbation.random_direction(state, mask, 1.0, seed=4)
    other = perturbation.random_direction(state, mask, 1.0, seed=5)
    shifted = states.select(perturbation.random_direction(state, mask, 1.0, seed=3), [1])
    for name in mask:
        assert torch.equal(one[name], again[name]) and not torch.equal(one[name], other[name])
        values = shifted[name][0][mask[name][0] & mask[name][1]]
        assert values.numel()
    alone = states.select(state, [1]), states.select(mask, [1])
    single = perturbation.random_direction(*alone, 1.0, seed=5)  # replicate 1 of seed 4 is drawn as seed 5
    assert all(torch.equal(single[name][0], one[name][1]) for name in mask)


@pytest.mark.parametrize("seed", [0, 4])
def test_a_random_direction_is_what_torch_draws_from_its_seed(point, seed):
    """Entry by entry, replicate r as ``seed + r``; nothing else enters, and 0 is the default."""
    state, mask, _ = point
    found = perturbation.random_direction(state, mask, [1.0, 2.0, 3.0], *([seed] if seed else []))
    for r in range(3):
        draw = torch.Generator().manual_seed(seed + r)
        drawn = {name: torch.randn(keep.shape[1:], generator=draw) * keep[r] for name, keep in mask.items()}
        size = sum(float((tensor.double() ** 2).sum()) for tensor in drawn.values()) ** 0.5
        for name, tensor in drawn.items():
            assert_close(found[name][r], tensor * ((r + 1) / size), rtol=1e-5, atol=1e-7)


def test_a_direction_has_the_types_of_its_state(point):
    state, mask, _ = point
    single, double = (perturbation.random_direction(s, mask, 2.0, 1) for s in (state, twins.double(state)))
    for name in state:
        assert double[name].dtype == twins.double(state)[name].dtype
        assert_close(double[name], single[name].to(double[name].dtype), rtol=1e-5, atol=1e-7)
    assert_close(by_hand(double), torch.full((3,), 2.0, dtype=torch.float64), rtol=1e-14, atol=0)


def test_outside_the_subspace_the_mask_takes_it_all_away(point):
    state, mask, _ = point
    complement = {name: ~keep for name, keep in mask.items()}
    outside = perturbation.random_direction(state, complement, 5.0, seed=0)
    masked, plain = (pruning.apply(s, mask) for s in (perturbation.perturb(state, outside, 3.0), state))
    assert all(torch.equal(masked[name], plain[name]) for name in state)


def test_the_pruning_direction_is_what_the_next_mask_takes_away(point):
    state, before, after = point
    direction = perturbation.pruning_direction(state, before, after)
    start, target = pruning.apply(state, before), pruning.apply(state, after)
    moved = perturbation.perturb(start, direction, 1.0)
    for name in state:
        assert_close(moved[name], target[name], rtol=0, atol=1e-7)
    assert_close(states.length(direction), by_hand({n: start[n] - target[n] for n in before}), rtol=1e-6, atol=0)


def test_perturb_scales_each_replicate(point):
    state, mask, _ = point
    direction = perturbation.random_direction(state, mask, 1.0)
    scale = [0.0, 0.5, 4.0]
    moved = perturbation.perturb(state, direction, scale)
    difference = {name: moved[name].double() - state[name].double() for name in mask}
    assert_close(by_hand(difference), torch.tensor(scale, dtype=torch.float64), rtol=1e-4, atol=1e-6)
    assert all(torch.equal(moved[name], state[name]) for name in state if name not in mask)


class Bowl(nn.Module):
    """Its logits are its weights, so that the cross-entropy is one convex bowl with a single lowest valley."""

    def __init__(self):
        super().__init__()
        self.layer = nn.Linear(1, 2, bias=False)

    def forward(self, x):
        return self.layer(torch.ones_like(x[:, :1]))


def test_in_a_bowl_gradient_descent_returns_exactly(ds):
    """With weight decay the bowl has one lowest point; a perturbation is forgotten, and the barrier back is zero."""
    ds = twins.double(dataclasses.replace(ds, train_y=ds.train_y % 2, test_y=ds.test_y % 2, num_classes=2))
    net = networks.wrap(Bowl, "cpu")
    state = twins.double(net.init(2, seed=0))
    mask = pruning.full(net, state)
    recipe = training.Recipe(steps=400, batch_size=240, lr=0.5, schedule="constant", momentum=0.5, weight_decay=0.1)
    calm = training.train(net, state, ds, recipe, mask)
    direction = perturbation.random_direction(state, mask, 1.0)
    for scale in (1.0, 30.0):
        back = training.train(net, perturbation.perturb(state, direction, scale), ds, recipe, mask)
        assert_close(back["layer.weight"], calm["layer.weight"], rtol=1e-9, atol=1e-9)
        barrier = landscape.barrier(lambda s: training.evaluate(net, s, ds.test_x, ds.test_y)[0], calm, back, points=5)
        assert float(barrier.height.abs().max()) < 1e-9


def test_bad_input_says_what_is_wrong(point):
    state, before, after = point
    with pytest.raises(ValueError, match=r"norm is -1\.0; it must be >= 0"):
        perturbation.random_direction(state, before, -1.0)
    with pytest.raises(ValueError, match="norm is nan"):
        perturbation.random_direction(state, before, float("nan"))
    with pytest.raises(ValueError, match=r"norm has shape \(2,\); it must be one number or \(3,\)"):
        perturbation.random_direction(state, before, [1.0, 2.0])
    with pytest.raises(ValueError, match="axial subspace is empty"):
        perturbation.random_direction(state, {name: torch.zeros_like(keep) for name, keep in before.items()}, 1.0)
    with pytest.raises(ValueError, match=r"scale is -0\.5; it must be >= 0"):
        perturbation.perturb(state, state, -0.5)
    with pytest.raises(ValueError, match=r"states differ: .* is \(3, .* in the first and \(2, "):
        perturbation.perturb(state, states.select(state, [0, 1]), 1.0)
    with pytest.raises(ValueError, match=r"mask entry 'con.*' has shape \(2, .*; it must be \(3, "):
        perturbation.random_direction(state, states.select(before, [0, 1]), 1.0)
    with pytest.raises(ValueError, match=r"before entry 'con.*' has shape \(2, "):
        perturbation.pruning_direction(state, states.select(before, [0, 1]), after)
    with pytest.raises(ValueError, match="seed is 1.5; it must be a whole number"):
        perturbation.random_direction(state, before, 1.0, seed=1.5)
    with pytest.raises(ValueError, match="after keeps weights that before prunes"):
        perturbation.pruning_direction(state, after, before)
    with pytest.raises(ValueError, match="something must be pruned between them"):
        perturbation.pruning_direction(state, before, before)
