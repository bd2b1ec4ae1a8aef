"""The training step as CUDA would run it, without a GPU: capture, streams, interrupts, launches, devices."""

import contextlib
import dataclasses
import gc
import weakref
from collections import Counter
from unittest import mock

import numpy as np
import pytest
import torch
from elsewhere import Graph, Race, Stream, machine, move
from torch import nn
from torch._subclasses.fake_tensor import DataDependentOutputException, FakeTensorMode

from lotterylib import data, networks, pruning, sgd, training, trial

RECIPE = training.Recipe(steps=20, batch_size=16, lr=0.1, momentum=0.9, weight_decay=1e-3, nesterov=True)
NETWORKS = ("cnn1d", "resnet1d", "mlp", "resnet8")  # the last one not stacked
BUDGET = {"bfloat16": 275, "float16": 170, "float32": 168}  # kernels of a ResNet-20 step, of one replicate or a stack


@pytest.fixture(autouse=True)
def one_stack(monkeypatch):
    """The CPU cuts stacks as a GPU does, and both lay out images alike, so that they give the same bits."""
    cut = lambda training, rows: [rows] if training.stacked else [[r] for r in rows]  # noqa: E731
    monkeypatch.setattr(sgd, "_parts", cut)
    monkeypatch.setattr(sgd, "_channels_last", lambda training: training.net.channels_last)


@pytest.fixture(params=NETWORKS)
def case(request, ds, pictures):
    """The name of a network with its options, and a dataset for it."""
    options = {"hidden": (8,)} if request.param == "mlp" else {"width": 4}
    return request.param, options, pictures if request.param == "resnet8" else ds


def start(net, count=3):
    state = net.init(count, seed=2)
    return state, pruning.random(state, pruning.full(net, state), 0.5, seed=3)


def group_of(net, state, ds, recipe, mask=None, rows=None):
    """A group of all replicates, or of the first if the network is not stacked."""
    momentum = {name: torch.zeros_like(state[name]) for name in net.parameters}
    failed = torch.full((len(next(iter(state.values()))),), -1, device=ds.device)
    if ds.device.type != "meta":  # there is nothing to try there
        net.try_on(ds.test_x)
    stacked = net.stacked and (ds.device.type == "meta" or net.stacks(ds.test_x, recipe.precision))
    seeds = list(range(len(failed)))
    training_ = sgd.Training(net, ds, recipe, stacked, mask or {}, seeds, state, momentum, failed)
    return sgd.Group(training_, rows or (seeds if stacked else [0]), 0)


def begun(case, device):
    """The network and the dataset of a case on a device, with a state and its mask."""
    name, sizes, ds = case
    ds = move(ds, device)
    net = networks.build(name, ds, **sizes)
    return net, ds, *start(net)


def trained(case, device, **options):
    """A training with masks, of replicates that start one after the other; the weights on the CPU."""
    net, ds, state, mask = begun(case, device)
    with mock.patch.object(trial, "fewer", lambda _, *rest: trial._Few(*rest)):  # BatchNorm as a GPU has it, on both
        return move(training.train(net, state, ds, RECIPE, mask, [0, 7, 0], 18, **options), "cpu")


def same(found, expected):
    assert set(found) == set(expected)
    for name in expected:
        assert torch.equal(found[name], expected[name]), name


# Capture, replay, streams


def test_the_replayed_training_is_the_called_one(case):
    expected = trained(case, "cpu")
    with machine("cuda") as device:
        same(trained(case, device), expected)
        replays = [entry for entry in Stream.log if entry[1] == "replays"]
    stacked = case[0] != "resnet8"
    assert len(replays) == 18 if stacked else 18 + 11 + 18  # the second joins at step 7
    assert all(stream is not None for stream, _, _ in replays)
    assert len({id(graph) for _, _, graph in replays}) == (2 if stacked else 3)  # a stack of two, then of three


@pytest.mark.parametrize("at", [1, 12, 30])
def test_an_interrupt_and_a_resume_end_with_the_same_bits(case, at, tmp_path):
    """Interrupted at any replay, the host waits for the device before it lets go of the tensors."""
    expected = trained(case, "cpu")
    count, replay = [0], Graph.replay

    def interrupted(graph):
        count[0] += 1
        if count[0] == min(at, 15 if case[0] != "resnet8" else at):
            raise KeyboardInterrupt
        replay(graph)

    with machine("cuda") as device:
        with mock.patch.object(Graph, "replay", interrupted), pytest.raises(KeyboardInterrupt):
            trained(case, device, checkpoint=tmp_path / "training")
        assert Stream.log[-1][1] == "synchronizes"
        same(trained(case, device, checkpoint=tmp_path / "training"), expected)
    assert Graph.capturing is None


def test_a_run_on_one_device_resumes_on_another(case, tmp_path, monkeypatch):
    """A checkpoint knows nothing of devices."""
    expected, walk, parts = trained(case, "cpu"), sgd._replay, []

    def interrupted(*arguments):
        parts.append(1)
        if len(parts) == 3:
            raise KeyboardInterrupt
        walk(*arguments)

    monkeypatch.setattr(training, "EVERY", 0)
    with machine("cuda") as device, mock.patch.object(sgd, "_replay", interrupted), pytest.raises(KeyboardInterrupt):
        trained(case, device, checkpoint=tmp_path / "training")
    assert (tmp_path / "training").exists()
    same(trained(case, "cpu", checkpoint=tmp_path / "training"), expected)


def test_groups_and_readers_wait_for_each_other(case):
    """``elsewhere`` raises for every race; here, that each of the three waits is needed."""
    with machine("cuda") as device:
        trained(case, device)
        real = Stream.wait_stream
        for left_out in (
            lambda one, other: other is Stream.current and one is not Stream.current,  # a group for what it begins from
            lambda one, other: one is Stream.current,  # the reader of the results for the group
        ):

            def wait(one, other, left_out=left_out):
                return None if left_out(one, other) else real(one, other)

            with mock.patch.object(Stream, "wait_stream", wait), pytest.raises(Race):
                trained(case, device)


def test_the_next_step_waits_until_the_last_one_is_read(case):
    with machine("cuda") as device:
        net, ds, state, _ = begun(case, device)
        group = group_of(net, state, ds, RECIPE)

        def step():
            with torch.cuda.stream(group.stream):
                group.graph.replay()

        group.store()
        step()
        with pytest.raises(Race):
            group.state[net.parameters[0]].clone()  # by another stream, without ``store``
        group.store()
        real, reader = Stream.wait_stream, Stream.current
        with mock.patch.object(Stream, "wait_stream", lambda one, other: real(one, other) if one is reader else None):
            group.store()
        with pytest.raises(Race):
            step()


def test_a_capture_leaves_the_group_as_it_was(case):
    with machine("cuda") as device:
        net, ds, state, mask = begun(case, device)
        group = group_of(net, state, ds, RECIPE, mask)
        torch.cuda.synchronize()
        for entry, tensor in group.state.items():
            assert torch.equal(tensor.cpu(), state[entry][group.rows].cpu()), entry
        assert not any(tensor.any().item() for tensor in group.momentum.values())
        assert len(group.graph.tape) > 10


def test_no_older_graph_is_freed_during_a_capture(case, monkeypatch):
    """CUDA would take that for a mistake of the capture: what is garbage goes before it, and nothing is collected."""
    update, seen, goes = sgd.Group.update, [], []

    class Old:
        def __init__(self):
            self.itself = self

        def __del__(self):
            goes.append(Graph.capturing)

    def noting(group):
        if Graph.capturing:
            Old()
            [[] for _ in range(3 * sum(gc.get_threshold()[:1]))]  # enough to call the collector
            seen.append((gc.isenabled(), len(goes)))
        return update(group)

    monkeypatch.setattr(sgd.Group, "update", noting)
    with machine("cuda") as device:
        net, ds, state, _ = begun(case, device)
        for _ in range(2):
            Old()
            group_of(net, state, ds, RECIPE)
    gc.collect()
    assert [enabled for enabled, _ in seen] == [False, False] and gc.isenabled()
    assert seen[0][1] >= 1 and seen[1][1] >= 3  # the one made before the capture, and that of the one before
    assert set(goes) == {None}


def test_a_group_goes_with_the_last_reference_to_it(case, monkeypatch):
    """And so does its graph, without the garbage collector: from a training to its end, and one by itself."""
    made, init = [], sgd.Group.__init__
    monkeypatch.setattr(
        sgd.Group, "__init__", lambda group, *rest: (made.append(weakref.ref(group)), init(group, *rest))[1]
    )
    gc.disable()
    try:
        with machine("cuda") as device:
            net, ds, state, mask = begun(case, device)
            group = group_of(net, state, ds, RECIPE)
            graph = weakref.ref(group.graph)
            del group
            assert graph() is None
            training.train(net, state, ds, RECIPE, mask, [0, 7, 0], 18)
            assert len(made) >= 3 and all(group() is None for group in made)
    finally:
        gc.enable()


# What the step may not do


def without_values(group, mode):
    """Put fake tensors, which have shapes alone, in place of all that a group's step reads."""

    def fake(tree):
        if isinstance(tree, torch.Tensor):
            return mode.from_tensor(tree)
        if isinstance(tree, dict):
            return {name: fake(value) for name, value in tree.items()}
        return [fake(value) for value in tree] if isinstance(tree, list) else tree

    vars(group).update({name: fake(value) for name, value in vars(group).items() if name not in ("leaves", "rows")})
    fields = {field.name: getattr(group.ds, field.name) for field in dataclasses.fields(group.ds)}
    group.ds = dataclasses.replace(group.ds, **fake(fields))
    group.leaves = {name: fake(leaf) for name, leaf in group.leaves.items()}


def pictures_of(size, classes=10):
    rng = np.random.default_rng(0)
    x, y = rng.integers(0, 256, (64, size, size, 3), np.uint8), np.arange(64) % classes
    return data.from_arrays("random", x, y, x, y, device="cpu", augment=True)


@pytest.fixture
def unfused(monkeypatch):
    """The update written out, since torch's has no shapes without values."""

    def update(weights, gradients, momenta, *, lr, weight_decay, **_):
        for weight, gradient, momentum in zip(weights, gradients, momenta, strict=True):
            momentum.add_(gradient + weight_decay * weight)
            weight.sub_(lr * momentum)

    monkeypatch.setattr(torch, "_fused_sgd_", update)


@pytest.mark.parametrize("precision", training.PRECISIONS)
def test_the_step_never_reads_a_value(case, precision, unfused):
    """Under fake tensors, which have none."""
    name, sizes, ds = case
    recipe = dataclasses.replace(RECIPE, precision=precision)
    net = networks.build(name, ds, **sizes)
    state, mask = start(net)
    group = group_of(net, state, ds, recipe, mask)
    group.load(0, 2)
    with FakeTensorMode() as mode:
        without_values(group, mode)
        group.update()
        group.update()
        group.watch(2)
        with pytest.raises(DataDependentOutputException):
            bool(group.failed.any())
    for entry, tensor in group.state.items():
        assert tensor.shape == state[entry][group.rows].shape and tensor.dtype == state[entry].dtype


def test_the_step_makes_no_tensor_on_the_cpu(case, unfused, monkeypatch):
    """On the meta device, with which none of the CPU mixes."""
    name, sizes, ds = case
    state, mask = start(networks.build(name, ds, **sizes))
    meta = move(ds, "meta")
    monkeypatch.setattr(torch, "autocast", lambda *_, **__: contextlib.nullcontext())  # knows no such device
    group = group_of(networks.build(name, meta, **sizes), move(state, "meta"), meta, RECIPE, move(mask, "meta"))
    group.load(0, 1)
    group.update()
    assert {tensor.device.type for tensor in (*group.state.values(), *group.momentum.values())} == {"meta"}
    group.keep[-1] = group.keep[-1].new_ones(group.keep[-1].shape, device="cpu")
    with pytest.raises(RuntimeError, match="device"):
        group.update()


def launches(precision, stacked=None):
    """What the graph of one ResNet-20 step holds, by the operation; views and allocations launch nothing."""
    recipe = dataclasses.replace(RECIPE, precision=precision, batch_size=4)
    with machine("cuda") as device:
        ds = move(pictures_of(32), device)
        net = networks.wrap(networks.build("resnet20", ds).make, device, stacked=stacked)
        group = group_of(net, net.init(2), ds, recipe)
        names = [func.overloadpacket.__name__ for func, *_ in group.graph.tape]
    return Counter(name for name in names if not name.startswith(("empty", "new_empty")))


@pytest.mark.parametrize("stacked", [False, True], ids=["one", "stack"])
@pytest.mark.parametrize("precision", training.PRECISIONS)
def test_a_step_stays_within_its_budget_of_launches(precision, stacked):
    """A BatchNorm is two kernels, in bfloat16, for which torch has its own on a GPU, seven; all else is one each."""
    found = launches(precision, stacked)
    norms = found["native_batch_norm"] + found["cudnn_batch_norm"]
    assert norms == 21
    kernels = found.total() + (5 * norms if precision == "bfloat16" else 0)
    assert kernels <= BUDGET[precision], found.most_common(20)


@pytest.mark.parametrize("precision", training.PRECISIONS)
def test_gradients_enter_the_update_with_the_strides_of_their_weights(case, precision, monkeypatch):
    """Else the fused update falls back to one kernel a tensor, or is wrong."""
    name, sizes, ds = case
    net, seen, real = networks.build(name, ds, **sizes), [], torch._fused_sgd_

    def update(weights, gradients, momenta, **options):
        seen.append((weights, gradients, momenta))
        real(weights, gradients, momenta, **options)

    monkeypatch.setattr(torch, "_fused_sgd_", update)
    state, mask = start(net)
    training.train(net, state, ds, dataclasses.replace(RECIPE, precision=precision), mask, stop=2)
    assert len(seen) == 2 * (1 if net.stacks(ds.test_x, precision) else 3)

    def layout(tensor):
        return [stride for stride, size in zip(tensor.stride(), tensor.shape, strict=True) if size > 1]

    for weights, gradients, momenta in seen:
        assert len(weights) == len(gradients) == len(momenta) == len(net.parameters)
        for entry, weight, gradient, momentum in zip(net.parameters, weights, gradients, momenta, strict=True):
            assert layout(gradient) == layout(weight) == layout(momentum), entry
            assert gradient.dtype == weight.dtype == torch.float32


# What is stacked


@pytest.mark.parametrize("precision", training.PRECISIONS)
def test_convolutions_are_stacked_on_cuda_in_half_precision_unless_asked_otherwise(pictures, precision):
    """There only, where it was measured to win; evaluations stay looped."""
    half = precision != "float32"
    make = networks.build("resnet8", pictures, width=4).make
    assert not networks.wrap(make, "cpu").stacks(pictures.test_x, precision)
    with machine("cuda") as device:
        x = move(pictures.test_x, device)
        for asked, expected in ((None, half), (False, False), (True, True)):
            assert networks.wrap(make, device, stacked=asked).stacks(x, precision) == expected
        assert not networks.wrap(make, device).stacked


def features():
    return nn.Sequential(nn.Linear(12, 8, bias=False), nn.BatchNorm1d(8), nn.ReLU(), nn.Linear(8, 3))


@pytest.mark.parametrize("stacked", [True, False], ids=["stacked", "looped"])
@pytest.mark.parametrize("name", ["cnn1d", "features", "pictures"])
def test_batchnorm_in_bfloat16_trains_or_is_refused_before_it(name, stacked, ds, pictures, picture):
    make, here = {
        "cnn1d": (lambda: networks.build("cnn1d", ds, width=4).module, ds), "features": (features, ds),
        "pictures": (picture, pictures),
    }[name]  # fmt: skip
    net = networks.wrap(make, "cpu", stacked=stacked)
    try:
        training.train(net, net.init(2), here, dataclasses.replace(RECIPE, steps=2, precision="bfloat16"))
    except ValueError as refusal:
        assert "stacked" in str(refusal)
