"""What holds for every input: masks, barriers, paths, spectra, schedules, keys, files and data, on drawn examples.

Each property is stated without the library's own way to it. What fails is shrunk to a smallest example and printed.
"""

import dataclasses
import math
import tempfile
import warnings
from fractions import Fraction
from pathlib import Path

import numpy as np
import pytest
import torch
import twins
from drawn import holds
from hypothesis import assume, example
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays
from torch import nn

from lotterybook import records
from lotterylib import curvature, data, imp, landscape, limits, networks, pruning, store, training

# Masks


@st.composite
def weights_and_masks(draw):
    """A state of one to three layers with ties and zeros, and a mask that keeps a weight or more of each."""
    count, sizes = draw(st.integers(1, 3)), draw(st.lists(st.integers(1, 30), min_size=1, max_size=3))
    rng = np.random.default_rng(draw(st.integers(0, 2**32)))
    levels = draw(st.sampled_from([2, 5, 1000]))  # few: many weights of one size
    state, mask = {}, {}
    for i, size in enumerate(sizes):
        scale = 10.0 ** rng.integers(-3, 4)
        state[f"layer {i}"] = torch.from_numpy(rng.integers(-levels, levels + 1, (count, size)) * scale).float()
        keep = rng.random((count, size)) < 0.7
        keep[:, rng.integers(size)] = True
        mask[f"layer {i}"] = torch.from_numpy(keep)
    return state, mask


PERCENT = st.integers(1, 999).map(lambda n: Fraction(n, 1000))


def sizes_of(state, mask, names, r):
    """Magnitudes of the kept weights of some layers, in one list."""
    return np.concatenate([np.abs(state[name][r].numpy())[mask[name][r].numpy()] for name in names])


@holds(drawn=weights_and_masks(), share=PERCENT, layerwise=st.booleans())
def test_as_many_weights_are_pruned_as_asked_for_the_smallest_and_no_other(drawn, share, layerwise):
    state, mask = drawn
    before = {name: keep.clone() for name, keep in mask.items()}
    groups = [[name] for name in mask] if layerwise else [list(mask)]
    goes = {(r, i): math.ceil(share * len(sizes_of(state, mask, names, r)))
            for r in range(len(mask["layer 0"])) for i, names in enumerate(groups)}  # fmt: skip
    try:
        after = (pruning.layerwise if layerwise else pruning.magnitude)(state, mask, float(share))
    except ValueError as error:
        assert "which empties layer" in str(error)
        for (r, i), count in goes.items():
            bound = np.sort(sizes_of(state, mask, groups[i], r))[count - 1]
            if any((sizes_of(state, mask, [name], r) <= bound).all() for name in groups[i]):
                return
        raise AssertionError("no layer consists of the smallest weights") from error
    for (r, i), count in goes.items():
        whole, kept = (sizes_of(state, some, groups[i], r) for some in (mask, after))
        assert len(kept) == len(whole) - count
        assert np.array_equal(np.sort(kept), np.sort(whole)[count:])
    assert all(torch.equal(mask[name], before[name]) and not (after[name] & ~mask[name]).any() for name in mask)


@holds(drawn=weights_and_masks(), share=PERCENT, seed=st.integers(0, 2**40))
def test_random_and_shuffled_masks_keep_their_numbers(drawn, share, seed):
    state, mask = drawn
    counts = sum(keep.sum(1) for keep in mask.values()).tolist()
    moved = pruning.shuffle(mask, seed)
    assert all(torch.equal(moved[name].sum(1), keep.sum(1)) for name, keep in mask.items())
    try:
        after = pruning.random(state, mask, float(share), seed)
    except ValueError as error:
        assume("which empties layer" not in str(error))
        raise
    assert sum(keep.sum(1) for keep in after.values()).tolist() == [n - math.ceil(share * n) for n in counts]
    gone = pruning.pruned(mask, after)
    for name, keep in mask.items():
        assert torch.equal(gone[name] ^ after[name], keep) and not (gone[name] & after[name]).any()
    applied = pruning.apply(state, after)
    assert all(torch.equal(applied[name], state[name] * keep) for name, keep in after.items())


# Barriers and paths


@st.composite
def landscapes(draw):
    """Two points of one to three replicates, a bumpy function of them in numpy, and an odd number of points."""
    rng = np.random.default_rng(draw(st.integers(0, 2**32)))
    count, size = draw(st.integers(1, 3)), draw(st.integers(1, 5))
    a, b = rng.normal(size=(2, count, size)) * draw(st.sampled_from([0.1, 1.0, 30.0]))
    slope, wave = rng.normal(size=(2, size)), rng.normal(size=(4, size))

    def function(x):
        return x @ slope[0] + np.sin(3 * x @ wave.T).sum(-1) + draw_bowl * ((x - slope[1]) ** 2).sum(-1)

    draw_bowl = draw(st.sampled_from([0.0, 0.5, -0.5]))
    return a, b, function, 2 * draw(st.integers(1, 8)) + 1


@holds(drawn=landscapes(), definition=st.sampled_from(landscape.DEFINITIONS), offset=st.floats(-100, 100))
def test_a_barrier_is_what_the_curve_rises_above_its_ends(drawn, definition, offset):
    a, b, function, points = drawn
    ends = [{"x": torch.from_numpy(x)} for x in (a, b)]

    def height(first, second, lift=0.0):
        found = landscape.barrier(lambda s: torch.from_numpy(function(s["x"].numpy()) + lift), first, second, points,
                                  definition)  # fmt: skip
        return found.height.numpy(), found.curve.numpy()

    found, curve = height(*ends)
    middle = function((a + b) / 2) - (function(a) + function(b)) / 2
    rounding = 1e-9 * (1 + np.abs(curve).max() + abs(offset))
    assert (found >= 0).all() and (found >= middle - rounding).all()
    assert np.allclose(curve[[0, -1]], [function(b), function(a)], rtol=0, atol=rounding)
    gamma = np.linspace(0, 1, points)[:, None]
    below = gamma * function(a) + (1 - gamma) * function(b) if definition == "line" else (function(a) + function(b)) / 2
    between = np.stack([function(g * a + (1 - g) * b) for g in gamma[:, 0]])
    assert np.allclose(found, (between - below).max(0), rtol=0, atol=rounding)
    assert np.allclose(found, height(*ends[::-1])[0], rtol=0, atol=rounding), "symmetric"
    assert np.allclose(found, height(*ends, offset)[0], rtol=0, atol=rounding), "whatever the level"


@holds(rates=st.lists(st.floats(0, 1), min_size=2, max_size=9), definition=st.sampled_from(landscape.DEFINITIONS))
def test_no_barrier_is_below_zero_whatever_the_errors(rates, definition):
    """Exactly, also where rounding is all there is."""
    errors = iter(rates)
    one = {"x": torch.zeros(1, 1)}
    found = landscape.barrier(lambda _: torch.tensor([next(errors)]).double(), one, one, len(rates), definition)
    assert found.height >= 0


LINEAR = networks.wrap(lambda: nn.Linear(3, 2), "cpu")


@holds(seed=st.integers(0, 2**32), count=st.integers(2, 4), points=st.integers(2, 6), replicates=st.integers(1, 3))
def test_a_path_passes_its_states_and_each_piece_is_a_line(seed, count, points, replicates):
    rng = np.random.default_rng(seed)
    x, y = rng.normal(size=(40, 3)), rng.integers(0, 2, 40)
    each = rng.normal(size=(count, replicates, 2, 4))
    states = [{"weight": torch.from_numpy(w[..., :3].copy()), "bias": torch.from_numpy(w[..., 3].copy())} for w in each]
    position, error = landscape.path(LINEAR, states, torch.from_numpy(x), torch.from_numpy(y), points)
    assert len(position) == len(error) == (count - 1) * (points - 1) + 1
    assert (position.diff() > 0).all() and position[-1] == count - 1
    for place, found in zip(position.tolist(), error.numpy(), strict=True):
        piece = min(int(place), count - 2)
        share = place - piece
        w = (1 - share) * each[piece] + share * each[piece + 1]
        logits = np.einsum("rci,ni->rnc", w[..., :3], x) + w[:, None, :, 3]
        sure = np.abs(logits[..., 0] - logits[..., 1]) > 1e-9
        assume(sure.all())
        assert np.allclose(found, (logits.argmax(-1) != y).mean(1))


# Spectra


@holds(
    size=st.integers(1, 16), iterations=st.integers(1, 20), probes=st.integers(1, 3), seed=st.integers(0, 2**32),
    scale=st.sampled_from([1e-30, 1e-3, 1.0, 1e6]), rank=st.integers(0, 16),
)  # fmt: skip
@example(size=2, iterations=1, probes=2, seed=82, scale=1.0, rank=2)  # nearly parallel probes, which know all nodes
def test_ritz_values_and_shares_are_those_of_the_matrix(size, iterations, probes, seed, scale, rank):
    """Inside the spectrum, with its moments; all of it after as many steps as there are dimensions."""
    rng = np.random.default_rng(seed)
    basis = np.linalg.qr(rng.normal(size=(size, size)))[0]
    values = rng.normal(size=size) * (np.arange(size) < rank)
    matrix = scale * (basis * values) @ basis.T
    matrix = (matrix + matrix.T) / 2
    exact, vectors = np.linalg.eigh(matrix)
    start = rng.normal(size=(1, probes, size))
    lanczos = curvature.lanczos(lambda v: v @ torch.from_numpy(matrix), torch.from_numpy(start), iterations)
    steps, rounding = min(iterations, size), 1e-10 * max(np.abs(exact).max(), 1e-300)
    q = lanczos[0][0].numpy()
    assert np.allclose(q @ q.transpose(0, 2, 1), np.eye(steps), atol=1e-10)
    for v in range(probes):
        alone = curvature.from_lanczos(*(part[:, v : v + 1] for part in lanczos))  # one probe: nothing is known of 1/D
        ritz, shares = alone.eigenvalues[0, 0].numpy(), alone.quadrature[0, 0].numpy()
        assert (shares >= 0).all() and abs(shares.sum() - 1) < 1e-10
        assert ritz.min() >= exact[0] - rounding and ritz.max() <= exact[-1] + rounding
        if steps == size:
            assert np.allclose(ritz, exact, rtol=0, atol=rounding)
        seen = (vectors.T @ start[0, v] / np.linalg.norm(start[0, v])) ** 2
        for power in range(min(2 * steps, 4)):  # m steps match 2m moments
            moment = (seen * (exact / scale) ** power).sum()
            assert abs((shares * (ritz / scale) ** power).sum() - moment) < 1e-8 * (1 + abs(moment))
    together = curvature.from_lanczos(*lanczos).quadrature
    assert (together >= 0).all() and np.allclose(together.sum(2), 1)


@holds(
    seed=st.integers(0, 2**32),
    size=st.integers(1, 40),
    epsilon=st.floats(1e-4, 10),
    order=st.sampled_from(limits.ORDERS),
)
def test_the_predicted_fraction_is_where_conditions_and_well_meet(seed, size, epsilon, order):
    rng = np.random.default_rng(seed)
    values, weights = np.abs(rng.normal(size=size)) + 1e-3, rng.normal(size=size)
    squares = np.sort(weights**2) if order == "magnitude" else np.full(size, (weights**2).mean())

    def left(share):
        """Dimension of the well, minus the share that is pruned."""
        distance = np.interp(share * size, np.arange(size + 1), np.concatenate([[0], squares.cumsum()]))
        return (2 * epsilon / (values * distance + 2 * epsilon)).mean() - share

    found = limits.gordon_fraction(values, weights, epsilon, order=order)
    assert 0 < found <= 1 and abs(left(found)) < 1e-6
    assert limits.gordon_fraction(values, weights, 2 * epsilon, order=order) >= found - 1e-9


# Schedules and keys


@st.composite
def recipes(draw):
    """Any recipe, whole numbers among its rates."""
    steps, schedule = draw(st.integers(1, 60)), draw(st.sampled_from(training.SCHEDULES))
    rate, share = st.floats(1e-6, 10) | st.integers(1, 3), st.floats(0, 0.99) | st.just(0)
    momentum = draw(share)
    drops = draw(st.lists(st.integers(0, 60), max_size=4)) if schedule == "step" else []
    return training.Recipe(
        steps, draw(st.integers(1, 64)), draw(rate), schedule, momentum, draw(share), draw(st.integers(0, steps)),
        tuple(sorted(drops)), draw(st.floats(1e-3, 1) | st.just(1)), bool(momentum) and draw(st.booleans()),
        draw(st.sampled_from(training.PRECISIONS)),
    )  # fmt: skip


@holds(recipe=recipes())
def test_rates_are_torchs_behind_a_straight_warm_up(recipe):
    rates, warm = [recipe.lr_at(step) for step in range(recipe.steps)], recipe.warmup
    assert rates[:warm] == pytest.approx([recipe.lr * (step + 1) / warm for step in range(warm)])
    shift = warm if recipe.schedule == "cosine" else 0  # whose decay begins where the warm-up ends
    if recipe.steps > shift:
        plain = dataclasses.replace(recipe, steps=recipe.steps - shift, warmup=0)
        assert rates[warm:] == pytest.approx(twins.rates(plain)[warm - shift :], rel=1e-6, abs=1e-8 * recipe.lr)
    assert all(0 <= rate <= recipe.lr * (1 + 1e-12) for rate in rates)
    assert all(a >= b for a, b in zip(rates[warm:], rates[warm + 1 :], strict=False))


@holds(a=recipes(), b=recipes(), fields=st.sets(st.sampled_from([f.name for f in dataclasses.fields(training.Recipe)])))
def test_recipes_have_one_key_if_and_only_if_they_are_equal(a, b, fields):
    try:
        b = dataclasses.replace(a, **{name: getattr(b, name) for name in fields})
    except ValueError:
        assume(False)
    config = imp.Config(a, levels=1), imp.Config(b, levels=1)
    for one, other in ((a, b), config):
        assert (store.key(one) == store.key(other)) == (one == other)
    whole = dataclasses.replace(a, lr=1), dataclasses.replace(a, lr=1.0)
    assert store.key(whole[0]) == store.key(whole[1])


SCALARS = st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, min_value=0) | st.text(max_size=5)
DESCRIBED = st.recursive(
    SCALARS, lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=3), inner, max_size=3),
    max_leaves=8,
)  # fmt: skip


def frozen(value):
    """What tells two descriptions apart, as something that can be compared: not their order, nor a ``None`` by name."""
    if isinstance(value, dict):
        return frozenset((name, frozen(entry)) for name, entry in value.items() if entry is not None), "dict"
    if isinstance(value, list | tuple):
        return tuple(map(frozen, value)), "list"
    return value, type(value).__name__


@holds(
    {"a": {"a": [1]}, "b": {"a": ["1"]}, "turned": False}, {"a": [1], "b": [1.0], "turned": False},
    {"a": [[], []], "b": [[[]]], "turned": False},
    a=DESCRIBED, b=DESCRIBED, turned=st.booleans(),
)  # fmt: skip
def test_descriptions_have_one_key_if_and_only_if_they_say_the_same(a, b, turned):
    if turned and isinstance(a, dict):
        b = {**dict(reversed(a.items())), "and": None}
        assume("and" not in a)
    assert (store.key(a) == store.key(b)) == (frozen(a) == frozen(b))
    assert (records.key("x", a, "d") == records.key("x", b, "d")) == (frozen(a) == frozen(b))
    assert records.key("x", a, "d") != records.key("y", a, "d") and records.key("x", a, "c") != records.key("x", a, "d")


# Files and data

KINDS = (torch.float32, torch.float64, torch.float16, torch.bfloat16, torch.int64, torch.int32, torch.uint8, torch.bool)
NAMES = st.text(max_size=6) | st.sampled_from(["..", "../..", "/etc/passwd", "a/b", "50%2F", "__metadata__", "C:\\x"])


@st.composite
def tensors(draw):
    """A tensor of any bits."""
    kind, shape = draw(st.sampled_from(KINDS)), draw(st.lists(st.integers(0, 3), max_size=3))
    rng = np.random.default_rng(draw(st.integers(0, 2**32)))
    count = math.prod(shape) * kind.itemsize
    raw = torch.from_numpy(rng.integers(0, 2 if kind == torch.bool else 256, count, np.uint8))
    return raw.view(kind).view(shape) if count else torch.from_numpy(np.empty(shape, np.float32)).to(kind)


TREES = st.recursive(tensors(), lambda inner: st.dictionaries(NAMES, inner, min_size=1, max_size=3), max_leaves=5)


def bits(tree, path=()):
    """All tensors of a tree by their path, as types, shapes and bytes."""
    if isinstance(tree, dict):
        return {place: found for name, inner in tree.items() for place, found in bits(inner, (*path, name)).items()}
    raw = tree.reshape(-1).view(torch.uint8).numpy().tobytes() if tree.numel() else b""
    return {path: (tree.dtype, tuple(tree.shape), raw)}


@holds(
    tree=st.dictionaries(NAMES, TREES, max_size=3), about=st.dictionaries(st.text(max_size=3), DESCRIBED, max_size=3)
)
def test_what_is_written_is_read_bit_for_bit_and_under_its_key_alone(tree, about):
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "x.safetensors"
        store.write(path, tree, {**about, "key": "k"})
        found, told = store.read(path, "k")
        assert bits(found) == bits(tree) and told == {**about, "key": "k"}
        with pytest.warns(UserWarning, match="belongs to other settings"):
            assert store.read(path, "another") is None
        assert list(Path(folder).iterdir()) == [path]


ANY = arrays.scalar_dtypes() | arrays.unicode_string_dtypes(max_len=3)


@st.composite
def sets(draw):
    """Four arrays that may make a dataset: of one type and shape of entries, or of any."""
    shape, kind = draw(st.lists(st.integers(0, 5), max_size=3)), draw(ANY)
    made = {}
    for name, count in (("train_x", 4), ("test_x", 3)):
        inner = draw(st.sampled_from([shape, shape, shape, [2]]))
        made[name] = draw(arrays.arrays(draw(st.sampled_from([kind, kind, kind, np.dtype("f8")])), (count, *inner)))
    for name, count in (("train_y", 4), ("test_y", 3)):
        some = draw(st.sampled_from([np.dtype("i8"), np.dtype("u1"), np.dtype("u8"), np.dtype("?"), kind]))
        labels = draw(arrays.arrays(some, (count,)))
        made[name] = labels % 3 if some.kind in "iu" and draw(st.booleans()) else labels
    return made


@holds(given_=sets())
def test_arrays_become_a_dataset_that_holds_what_they_hold_or_are_refused(given_):
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        try:
            ds = data.from_arrays("drawn", **given_, device="cpu")
        except ValueError as error:
            assert str(error).startswith("drawn: ") and len(str(error)) < 500
            return
    assert ds.num_classes == ds.train_y.max() + 1 > ds.test_y.max()
    for part in ("train", "test"):
        assert np.array_equal(getattr(ds, f"{part}_y").numpy(), given_[f"{part}_y"].astype(object))
    x = given_["train_x"]
    fed = ds.training_set()[0]
    assert fed.isfinite().all() and ds.test_x.isfinite().all()
    if ds.train_x.dtype == torch.int64:
        assert np.array_equal(fed.numpy(), x.astype(object))
    elif ds.train_x.dtype == torch.uint8:
        assert np.array_equal(ds.train_x.numpy().reshape(x.shape), x)
    else:
        wide = x.astype(np.float64)
        assert np.allclose(
            fed.numpy() * (wide.std(ddof=1) or 1), wide - wide.mean(), atol=1e-4 * np.abs(wide).max() + 1e-12
        )
