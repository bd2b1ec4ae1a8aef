"""States and masks: what does not fit is named, and the algebra is numpy's."""

import numpy as np
import pytest
import torch

from lotterylib import states

SHAPES = {"w": (2, 3), "b": (3,)}


def made(count=2, **changed):
    """A state of ``SHAPES`` with ``count`` replicates; ``None`` takes an entry away."""
    tree = {name: torch.full((count, *shape), float(len(name))) for name, shape in SHAPES.items()} | changed
    return {name: tensor for name, tensor in tree.items() if tensor is not None}


def test_a_state_that_fits_has_its_number_of_replicates():
    assert states.check("state", made(2), SHAPES) == states.check("state", made(2), SHAPES, 2) == 2
    assert states.check("state", made(1, t=torch.zeros(1)), {**SHAPES, "t": ()}) == 1  # 0-dim in the module
    mask = {name: tensor.bool() for name, tensor in made(3).items()}
    assert states.check("mask", mask, SHAPES, 3, torch.bool) == 3
    assert states.check_mask(made(3), {"w": mask["w"]}) == 3


@pytest.mark.parametrize(
    ("tree", "message"),
    [
        ([1], "state is a list; it must be a dict of tensors with a replicate axis"),
        ({}, "state is empty; it must be a dict"),
        (made(c=torch.zeros(2, 3)), "state entry is 'c', which is unknown; allowed are 'w', 'b'"),
        (made(w=None, W=torch.zeros(2, 2, 3)), "state entry is 'W', which is unknown"),
        (made(b=None), "state lacks the entry 'b'; it must hold w, b"),
        (made(w=np.zeros((2, 2, 3))), "state entry 'w' is a ndarray; it must be a tensor"),
        (made(w=torch.zeros(2, 2, 4)), r"'w' has shape \(2, 2, 4\); it must be \(R, 2, 3\), .* first axis$"),
        (made(b=torch.zeros(4, 3)), r"'b' has shape \(4, 3\); it must be \(2, 3\), with at least one rep"),
        (made(w=torch.zeros(2, 3)), r"'w' has shape \(2, 3\); it must be \(R, 2, 3\).*state_dict lacks that axis"),
        (made(0), r"'w' has shape \(0, 2, 3\); it must be \(R, 2, 3\), with at least one replicate"),
        (made(b=torch.tensor(1.0)), r"'b' has shape \(\); it must be \(2, 3\)"),
    ],
)
def test_what_does_not_fit_is_named(tree, message):
    with pytest.raises(ValueError, match=message):
        states.check("state", tree, SHAPES)


def test_numbers_and_types_that_are_asked_for():
    with pytest.raises(ValueError, match=r"mask entry 'w' has shape \(2, 2, 3\); it must be \(4, 2, 3\)"):
        states.check("mask", made(2), SHAPES, 4)
    with pytest.raises(ValueError, match="mask entry 'w' has type torch.float32; it must be torch.bool"):
        states.check("mask", made(2), SHAPES, 2, torch.bool)


@pytest.mark.parametrize(
    ("mask", "message"),
    [
        ({"x": torch.ones(2, 3).bool()}, "mask entry is 'x', which is unknown; allowed are 'w', 'b'"),
        ({"b": torch.ones(3, 3).bool()}, r"mask entry 'b' has shape \(3, 3\); it must be \(2, 3\)"),
        ({"b": torch.ones(2, 3)}, "mask entry 'b' has type torch.float32; it must be torch.bool"),
        ({}, "mask is empty"),
        (None, "mask is a NoneType"),
    ],
)
def test_a_mask_fits_its_state(mask, message):
    with pytest.raises(ValueError, match=message):
        states.check_mask(made(2), mask)


def test_replicates_are_joined_and_selected():
    a, b = ({name: torch.randn(count, *shape) for name, shape in SHAPES.items()} for count in (2, 1))
    joined = states.concatenate([a, b])
    assert states.replicates(joined) == 3
    for name in SHAPES:
        assert np.array_equal(joined[name], np.concatenate([a[name], b[name]]))
        assert torch.equal(states.select(joined, [2])[name], b[name])
        assert torch.equal(states.select(joined, 0)[name], a[name][0])
    with pytest.raises(ValueError, match="number of states is 0; it must be >= 1"):
        states.concatenate([])
    for other in (made(b=None), made(c=torch.zeros(2, 3))):
        with pytest.raises(ValueError, match="states differ: '[bc]' is only in the (first|second)"):
            states.concatenate([a, other])
    with pytest.raises(ValueError, match=r"'b' is \(2, 3\) in the first and \(2, 4\) .* without the replicate axis"):
        states.concatenate([a, made(b=torch.zeros(2, 4))])


def test_states_are_alike_down_to_their_replicates():
    assert states.check_alike(made(2), made(2)) is None
    with pytest.raises(ValueError, match=r"'w' is \(2, 2, 3\) in the first and \(1, 2, 3\) .*numbers of replicates"):
        states.check_alike(made(2), made(1))


def test_products_and_lengths_are_numpys():
    rng = np.random.default_rng(0)
    arrays = [{name: rng.normal(size=(2, *shape)).astype(np.float32) for name, shape in SHAPES.items()} for _ in "uv"]
    u, v = ({name: torch.from_numpy(a) for name, a in one.items()} for one in arrays)
    flat = [[np.concatenate([a[r].ravel() for a in one.values()]).astype(float) for r in range(2)] for one in arrays]
    assert states.dot(u, v).dtype == torch.float64
    assert states.dot(u, v).tolist() == pytest.approx([a @ b for a, b in zip(*flat, strict=True)])
    assert states.dot({"b": u["b"]}, v).tolist() == pytest.approx((arrays[0]["b"] * arrays[1]["b"]).sum(1).tolist())
    assert states.length(u).tolist() == pytest.approx([np.linalg.norm(a) for a in flat[0]])
    scaled = states.times(u, torch.tensor([2.0, -0.5], dtype=torch.float64))
    for name, tensor in scaled.items():
        assert tensor.dtype == torch.float32
        assert np.allclose(tensor, arrays[0][name] * np.array([2, -0.5]).reshape(-1, *[1] * len(SHAPES[name])))
