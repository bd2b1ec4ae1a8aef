"""Residual networks against torchvision's own blocks, and their replicates against plain modules trained alone."""

import dataclasses

import pytest
import torch
import twins
from torch import nn
from torch.testing import assert_close

from lotterylib import architectures, data, imp, landscape, memory, networks, pruning, sgd, training

data.import_torchvision()
from torchvision import models  # noqa: E402 (beside a torch without CUDA it needs the line above)
from torchvision.models.resnet import BasicBlock  # noqa: E402


def alike(mine, theirs, x):
    """Give the twin the same weights, entry by entry in order, and compare both modes and the statistics."""
    assert [tuple(t.shape) for t in mine.state_dict().values()] == [
        tuple(t.shape) for t in theirs.state_dict().values()
    ]
    theirs.load_state_dict(dict(zip(theirs.state_dict(), mine.state_dict().values(), strict=True)))
    for _ in range(2):
        assert_close(mine.train()(x), theirs.train()(x), rtol=1e-9, atol=1e-9)
    assert_close(mine.eval()(x), theirs.eval()(x), rtol=1e-9, atol=1e-9)


def family(depth, width, classes):
    """The 6n + 2 family of torchvision's blocks."""
    layers, inputs = [nn.Conv2d(3, width, 3, 1, 1, bias=False), nn.BatchNorm2d(width), nn.ReLU()], width
    for stage, outputs in enumerate((width, 2 * width, 4 * width)):
        for block in range((depth - 2) // 6):
            stride, shortcut = 1, None
            if stage and block == 0:
                stride = 2
                shortcut = nn.Sequential(nn.Conv2d(inputs, outputs, 1, 2, bias=False), nn.BatchNorm2d(outputs))
            layers.append(BasicBlock(inputs, outputs, stride, shortcut))
            inputs = outputs
    return nn.Sequential(*layers, nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(inputs, classes))


@pytest.mark.parametrize(("depth", "width"), [(8, 4), (20, 16), (32, 3)])
def test_the_family_is_made_of_torchvisions_blocks(depth, width):
    torch.manual_seed(0)
    mine = architectures.module(f"resnet{depth}", (3, 12, 12), 7, width=width).double()
    alike(mine, family(depth, width, 7).double(), torch.randn(5, 3, 12, 12, dtype=torch.float64))


def test_resnet18_is_torchvisions_with_a_small_stem():
    torch.manual_seed(0)
    theirs = models.resnet18(num_classes=100)
    theirs.conv1, theirs.maxpool = nn.Conv2d(3, 64, 3, padding=1, bias=False), nn.Identity()
    mine = architectures.module("resnet18", (3, 32, 32), 100)
    for ours, other in zip(mine.parameters(), theirs.parameters(), strict=True):  # drawn alike
        if ours.dim() == 4 and other is not theirs.conv1.weight:
            assert float((ours.std() / other.std()).detach()) == pytest.approx(1, abs=0.03)
    alike(mine.double(), theirs.double(), torch.randn(2, 3, 8, 8, dtype=torch.float64))


@pytest.mark.parametrize(
    ("name", "classes", "parameters"),
    [("resnet20", 10, 272474), ("resnet56", 10, 855770), ("resnet18", 10, 11173962), ("resnet18", 100, 11220132)],
)
def test_numbers_of_parameters(name, classes, parameters):
    """open_lth's ResNet-20 and -56, lth_diet's low-resolution ResNet-18."""
    module = architectures.module(name, (3, 32, 32), classes)
    assert sum(p.numel() for p in module.parameters()) == parameters


def test_the_family_is_drawn_as_open_lth_draws_it():
    module = architectures.module("resnet20", (3, 32, 32), 10)
    weight, scale = module.stages[-1].conv2.weight.detach(), module.stages[-1].norm2.weight.detach()
    assert float(weight.std()) == pytest.approx((2 / (64 * 9)) ** 0.5, rel=0.03)  # fan in
    assert float(weight.abs().max()) > 3 * float(weight.std())
    assert 0 <= float(scale.min()) < 0.2 and 0.8 < float(scale.max()) <= 1
    assert float(module.stages[-1].norm2.bias.detach().abs().max()) == 0


def test_a_resnet_takes_images(ds):
    with pytest.raises(ValueError, match=r"takes images of shape \(channels, height, width\), not \(12,\)"):
        networks.build("resnet20", ds)


def test_prunable_are_convolutions_and_the_linear_layer(pictures):
    net = networks.build("resnet20", pictures)
    assert len(net.prunable) == 19 + 2 + 1 and net.prunable[0] == "stem.0.weight" and "linear.weight" in net.prunable
    assert not [name for name in net.prunable if "norm" in name or "bias" in name or "shortcut.1" in name]
    assert not net.stacked


def test_two_replicates_of_resnet20_are_two_plain_modules(pictures):
    """Gradients, running statistics and evaluation, after one step and after four, with a mask."""
    ds = twins.double(pictures)
    net = networks.build("resnet20", ds)
    state = twins.double(net.init(2, seed=3))
    mask = pruning.random(state, pruning.full(net, state), 0.5, seed=1)
    state = pruning.apply(state, mask)
    one = training.Recipe(steps=1, batch_size=40, lr=1.0, schedule="constant", momentum=0)
    after = training.train(net, state, ds, one, mask, order_seed=7)
    few = dataclasses.replace(one, steps=4, lr=0.1, momentum=0.9, weight_decay=1e-3)
    later = training.train(net, state, ds, few, mask, order_seed=7)
    logits = net(later, ds.test_x)
    for r in range(2):
        model = twins.module(net, state, r).train()
        x, y = next(twins.batches(ds, one, [7 + r]))
        torch.nn.functional.cross_entropy(model(x[0]), y[0]).backward()
        for name, p in model.named_parameters():
            kept = p.grad * mask[name][r] if name in mask else p.grad
            assert_close(state[name][r] - after[name][r], kept, rtol=1e-8, atol=1e-10)
        for name, buffer in model.named_buffers():
            assert_close(after[name][r], buffer, rtol=1e-10, atol=1e-10)
        model = twins.module(net, state, r)
        twins.sgd(model, ds, few, 7 + r, twins.part(mask, r))
        for name, tensor in model.state_dict().items():
            assert_close(later[name][r], tensor, rtol=1e-7, atol=1e-9)
        assert_close(logits[r], model.eval()(ds.test_x), rtol=1e-7, atol=1e-8)


def test_threads_change_nothing(pictures):
    """Groups that run in threads beside each other train as one after the other, and leave torch's threads alone."""
    net = networks.build("resnet8", pictures, width=4)
    state, recipe = net.init(3), training.Recipe(steps=6, batch_size=20)
    alone = training.train(net, state, pictures, recipe)
    torch.set_num_threads(3)
    try:
        together = training.train(net, state, pictures, recipe)
        assert torch.get_num_threads() == 3
    finally:
        torch.set_num_threads(1)
    for name in alone:
        assert torch.equal(alone[name], together[name])


def test_a_failure_in_a_thread_is_seen(pictures, monkeypatch):
    def fail(group):
        raise RuntimeError(f"group {group.rows}")

    net = networks.build("resnet8", pictures, width=2)
    monkeypatch.setattr(sgd.Group, "update", fail)
    torch.set_num_threads(2)
    try:
        with pytest.raises(RuntimeError, match=r"group \[0\]"):
            training.train(net, net.init(2), pictures, training.Recipe(steps=2, batch_size=20))
        assert torch.get_num_threads() == 2
    finally:
        torch.set_num_threads(1)


@pytest.mark.parametrize("nesterov", [True, False])
def test_nesterov_is_torchs(ds, net, nesterov):
    ds = twins.double(ds)
    recipe = training.Recipe(steps=12, batch_size=16, lr=0.1, weight_decay=1e-2, nesterov=nesterov)
    state = twins.double(net.init(1, seed=2))
    model = twins.module(net, state)
    twins.sgd(model, ds, recipe, 5)
    trained = training.train(net, state, ds, recipe, order_seed=5)
    for name, tensor in model.state_dict().items():
        assert_close(trained[name][0], tensor, rtol=1e-8, atol=1e-9)


@pytest.mark.parametrize("precision", ["bfloat16", "float16"])
@pytest.mark.parametrize("name", ["resnet8", "mlp"])
def test_half_precision_is_autocast_over_float32_weights(pictures, name, precision):
    """One step of each replicate equals that of a plain module under autocast, and is not that of float32."""
    net = networks.build(name, pictures)
    recipe = training.Recipe(steps=1, batch_size=40, lr=1.0, schedule="constant", momentum=0, precision=precision)
    state = net.init(2, seed=1)
    after = training.train(net, state, pictures, recipe, order_seed=3)
    exact = training.train(net, state, pictures, dataclasses.replace(recipe, precision="float32"), order_seed=3)
    assert all(tensor.dtype == state[entry].dtype for entry, tensor in after.items())
    for r in range(2):
        model = twins.module(net, state, r).train()
        x, y = next(twins.batches(pictures, recipe, [3 + r]))
        with torch.autocast("cpu", getattr(torch, precision)):
            logits = model(x[0])
        torch.nn.functional.cross_entropy(logits.float(), y[0]).backward()
        for entry, p in model.named_parameters():
            mine, theirs = state[entry][r] - after[entry][r], p.grad
            assert float((mine - theirs).norm()) <= 0.05 * float(theirs.norm()) + 1e-6, entry
    assert any(not torch.equal(after[entry], exact[entry]) for entry in net.prunable)


def test_precision_is_one_of_three():
    with pytest.raises(ValueError, match="precision is 'bf16'.*'float32', 'bfloat16', 'float16'"):
        training.Recipe(steps=1, precision="bf16")


def test_torchvisions_resnet50_is_wrapped_as_it_is():
    net = networks.wrap(models.resnet50, "cpu")
    assert sum(torch.Size(shape).numel() for shape in [net.shapes[name] for name in net.parameters]) == 25557032
    assert len(net.prunable) == 54 and not net.stacked
    state = net.init(1, seed=4)
    torch.manual_seed(4)
    model, x = models.resnet50(), torch.randn(2, 3, 64, 64)
    assert_close(net(state, x)[0], model.eval()(x), rtol=1e-4, atol=1e-4)


def test_a_run_that_cannot_fit_is_refused_before_it_starts(pictures, monkeypatch):
    net = networks.build("resnet8", pictures, width=4)
    config = imp.Config(training.Recipe(steps=4, batch_size=20), rewind_step=(0, 2), levels=3, replicates=5)
    monkeypatch.setattr(sgd.Group, "update", lambda group: pytest.fail("it was started"))
    monkeypatch.setattr(memory, "fitting", lambda *_, **__: 7)
    with pytest.raises(ValueError, match="replicates are 10 in all.* cpu suffices for about 7"):
        imp.run(net, pictures, config)


def test_out_of_memory_says_how_many_replicates_fit(pictures, monkeypatch):
    """On CUDA torch raises in the middle of things; the estimate is then never more than what has just failed."""

    def fail(*_, **__):
        raise torch.cuda.OutOfMemoryError("CUDA out of memory")

    net = networks.build("resnet8", pictures, width=4)
    monkeypatch.setattr(sgd, "Group", fail)
    for estimate, said in ((2, 2), (100, 3)):
        monkeypatch.setattr(memory, "fitting", lambda *_, estimate=estimate: estimate)
        with pytest.raises(ValueError, match=f"memory of cpu does not suffice for 4 replicates; {said} may fit"):
            training.train(net, net.init(4), pictures, training.Recipe(steps=2, batch_size=20))


def test_memory_grows_with_batch_and_width_and_counts_what_is_kept(pictures, monkeypatch):
    """What does not fit is counted: activations scale with the batch, copies with the weights."""
    monkeypatch.setattr(data.os, "sysconf", lambda name: {"SC_PHYS_PAGES": 10**6, "SC_PAGE_SIZE": 4096}[name])
    small = training.Recipe(steps=4, batch_size=10)
    large = dataclasses.replace(small, batch_size=80)
    for stacked in (True, False):
        narrow, wide = (networks.build("resnet8", pictures, width=width) for width in (4, 16))
        narrow.stacked = wide.stacked = stacked
        fit = memory.fitting(narrow, pictures, small)
        assert fit > memory.fitting(wide, pictures, small) > 0
        kept = 10**7 / sum(tensor.nbytes for tensor in narrow.init(1).values())
        assert memory.fitting(narrow, pictures, small, kept) == pytest.approx(4.096e9 / 1e7, rel=0.1)
    wide.stacked = True  # then every replicate's activations are alive at once
    copies = memory._COPIES * sum(tensor.nbytes for tensor in wide.init(1).values())
    one, eight = (4.096e9 / memory.fitting(wide, pictures, recipe) - copies for recipe in (small, large))
    assert eight / one == pytest.approx(8, rel=0.15)


def test_threads_change_no_evaluation(pictures):
    """Errors, gradients' mode and recalibrated statistics, with replicates in threads beside each other."""
    net = networks.build("resnet8", pictures, width=4)
    state = training.train(net, net.init(3), pictures, training.Recipe(steps=4, batch_size=20))
    alone = net(state, pictures.test_x), landscape.recalibrate(net, state, pictures, batch_size=20)
    torch.set_num_threads(2)
    try:
        together = net(state, pictures.test_x), landscape.recalibrate(net, state, pictures, batch_size=20)
        assert torch.get_num_threads() == 2
    finally:
        torch.set_num_threads(1)
    assert torch.equal(alone[0], together[0]) and not together[0].requires_grad
    assert all(torch.equal(alone[1][name], together[1][name]) for name in state)
