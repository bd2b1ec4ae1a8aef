"""What only a GPU can show: the captured step equals the eager one, runs repeat to the bit, memory is counted."""

import dataclasses

import numpy as np
import pytest
import torch
import twins
from torch.testing import assert_close

from lotterylib import data, imp, memory, networks, pruning, sgd, training

pytestmark = pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device, and torch sees none")
RECIPE = training.Recipe(steps=60, batch_size=16, lr=0.1, momentum=0.9, weight_decay=5e-3, nesterov=True)


def on_cuda(dataset):
    tensors = {f.name: getattr(dataset, f.name) for f in dataclasses.fields(dataset)}
    moved = {name: v.cuda() if torch.is_tensor(v) else v for name, v in tensors.items()}
    return data.Dataset(**moved)


@pytest.fixture(params=["cnn1d", "resnet8"])
def case(request, ds, pictures):
    """A stacked network, and one whose replicates have a graph each but in half precision."""
    chosen = on_cuda(ds if request.param == "cnn1d" else pictures)
    return networks.build(request.param, chosen, width=4), chosen


def start(net, count=3):
    state = net.init(count, seed=2)
    return state, pruning.random(state, pruning.full(net, state), 0.5, seed=3)


def eager(monkeypatch):
    """Let the step be called instead of captured."""
    monkeypatch.setattr(sgd.Group, "_capture", lambda group, step: None)

    def call(*arguments):
        torch.cuda.synchronize()  # the groups' streams
        with networks.exact():
            sgd._call(*arguments)

    monkeypatch.setattr(sgd, "_replay", call)


@pytest.mark.parametrize("precision", training.PRECISIONS)
def test_the_captured_step_is_the_eager_step(case, monkeypatch, precision):
    """50 steps with masks, starts at different steps, statistics included."""
    net, ds = case
    recipe = dataclasses.replace(RECIPE, precision=precision)
    state, mask = start(net)
    arguments = (net, state, ds, recipe, mask, [0, 7, 0], 50)
    captured = training.train(*arguments)
    with monkeypatch.context() as patch:
        eager(patch)
        called = training.train(*arguments)
    for name in state:
        assert_close(captured[name], called[name], rtol=1e-4, atol=1e-5, msg=lambda text, name=name: f"{name}: {text}")
    for name, keep in mask.items():
        assert (captured[name][~keep] == 0).all()


@pytest.mark.parametrize("precision", ["bfloat16", "float16"])
def test_a_stack_of_convolutions_is_as_exact_as_single_graphs(pictures, precision):
    """Groups instead of graphs: as far from float32 as one replicate by itself, and as repeatable."""
    ds, recipe = on_cuda(pictures), dataclasses.replace(RECIPE, steps=20, lr=0.05)
    net = networks.build("resnet8", ds, width=4)
    looped = networks.wrap(net.make, "cuda", stacked=False)
    state, mask = start(net)
    half = dataclasses.replace(recipe, precision=precision)
    assert net.stacks(ds.test_x, precision) and not net.stacks(ds.test_x) and not looped.stacks(ds.test_x, precision)
    exact, one = (training.train(looped, state, ds, each, mask) for each in (recipe, half))
    stack, again = (training.train(net, state, ds, half, mask) for _ in range(2))
    for name in net.parameters:
        moved = float((exact[name] - state[name]).norm())
        off = [float((found[name] - exact[name]).norm()) for found in (one, stack)]
        assert off[1] <= 2 * off[0] + 0.1 * moved, (name, moved, off)
        assert torch.equal(stack[name], again[name])
    assert all(torch.equal(stack[n], one[n]) for n in state if n.endswith("num_batches_tracked"))


def test_cuda_trains_as_the_cpu_does(case, ds, pictures):
    """In float64, where rounding does not grow: the same batches, the same views, the same weights."""
    net, there = case
    here = twins.double(ds if there.name == ds.name else pictures)
    there = twins.double(there)
    state, mask = start(net)
    state = twins.double(state)
    cpu = {name: tensor.cpu() for name, tensor in state.items()}
    home = networks.build("cnn1d" if there.name == ds.name else "resnet8", here, width=4)
    expected = training.train(home, cpu, here, RECIPE, {name: keep.cpu() for name, keep in mask.items()}, stop=20)
    found = training.train(net, state, there, RECIPE, mask, stop=20)
    for name in state:
        assert_close(found[name].cpu(), expected[name], rtol=1e-5, atol=1e-7)
    assert_close(
        training.evaluate(net, found, there.test_x, there.test_y)[0],
        training.evaluate(home, expected, here.test_x, here.test_y)[0], rtol=1e-5, atol=1e-7,
    )  # fmt: skip


def test_a_run_repeats_to_the_bit_and_resumes(case, tmp_path, monkeypatch):
    net, ds = case
    config = imp.Config(recipe=RECIPE, rewind_step=(0, 9), levels=2, replicates=2)
    first = imp.run(net, ds, config, checkpoint=tmp_path / "a")
    stopped, replay = [], sgd._replay

    def stop_once(*arguments):
        if len(stopped) < 9:
            stopped.append(1)
            return replay(*arguments)
        raise KeyboardInterrupt

    with monkeypatch.context() as patch, pytest.raises(KeyboardInterrupt):
        patch.setattr(training, "EVERY", 0)
        patch.setattr(sgd, "_replay", stop_once)
        imp.run(net, ds, config, checkpoint=tmp_path / "b")
    second = imp.run(net, ds, config, checkpoint=tmp_path / "b")
    for one, two in zip(first.levels, second.levels, strict=True):
        assert all(torch.equal(one.state[name], two.state[name]) for name in one.state)
        assert torch.equal(one.error, two.error)


@pytest.mark.filterwarnings("ignore:Synchronization debug mode is a prototype:UserWarning")
def test_between_two_steps_the_host_waits_for_nothing(case):
    net, ds = case
    state, mask = start(net, 1)
    momentum = {name: torch.zeros_like(state[name]) for name in net.parameters}
    failed = torch.full((1,), -1, device=ds.device)
    whole = sgd.Training(net, ds, RECIPE, net.stacks(ds.test_x), mask, [1], state, momentum, failed)
    group = sgd.Group(whole, [0], 0)
    group.load(0, 5)
    torch.cuda.synchronize()
    try:
        torch.cuda.set_sync_debug_mode("error")
        with torch.cuda.stream(group.stream):
            for _ in range(5):
                group.graph.replay()
    finally:
        torch.cuda.set_sync_debug_mode("default")
    group.stream.synchronize()
    assert int(group.row) == 5


def test_the_memory_of_a_training_is_estimated_within_a_factor_of_two():
    rng = np.random.default_rng(0)
    x, y = rng.integers(0, 256, (256, 32, 32, 3), np.uint8), np.arange(256) % 10
    ds = data.from_arrays("random", x, y, x, y, device="cuda", augment=True)
    net, recipe = networks.build("resnet20", ds), dataclasses.replace(RECIPE, batch_size=128, steps=4)
    training.train(net, net.init(8), ds, recipe)  # the libraries' own memory, which stays
    torch.cuda.empty_cache()
    torch.cuda.reset_peak_memory_stats()
    before = torch.cuda.memory_reserved()
    training.train(net, net.init(8), ds, recipe)
    taken = (torch.cuda.max_memory_reserved() - before) / 8
    available = torch.cuda.mem_get_info()[0] + torch.cuda.memory_reserved()
    assert taken / 2 < available / memory.fitting(net, ds, recipe) - memory._WORKSPACE < 2 * taken
