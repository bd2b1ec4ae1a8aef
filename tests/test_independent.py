"""Numbers of the book computed again from its published weights: plain torch and numpy, no lotterylib, no lotterybook.

Files are read as safetensors, data come from the package that generates them, networks are modules of ``nn.Conv1d``. So
an error in the library's evaluation, interpolation or storage would show here, where its own tests may share it.
"""

import numpy as np
import plain
import pytest
import torch
from plain import PRESETS, RECORDS
from safetensors.numpy import load_file

EPSILON = 0.005  # of matching: half a point
FEW = 4 / 5000  # examples on the boundary between two classes, which another machine's rounding moves


@torch.no_grad()
def error(weights):
    made = plain.mnist1d()
    return float((plain.network(weights)(made["x_test"].float()).argmax(1) != made["y_test"]).double().mean())


def settings(preset):
    return plain.published(preset)[1]


def solution(preset, level, step, replicate):
    """``w^(L)`` of one replicate, by its rewind step."""
    about = settings(preset)
    row = about["rewind_step"].index(step) * about["replicates"] + replicate
    return plain.solution(preset, level, row)[0]


def record(preset, name):
    return load_file(RECORDS / preset / f"{name}.safetensors")


def test_there_is_something_to_check():
    assert PRESETS


@pytest.mark.parametrize("preset", PRESETS)
def test_a_barrier_comes_out_again(preset):
    """From the first rewind step, where it is high, and from the last, where it is low, between levels 4 and 5."""
    found, steps = record(preset, "successive_barriers"), settings(preset)["rewind_step"]
    gammas = np.linspace(0, 1, found["curve"].shape[1])
    heights = []
    for column in (0, len(steps) - 1):
        before, after = (solution(preset, level, steps[column], 0) for level in (4, 5))
        curve = np.array([
            error({
                name: after[name] if after[name].dtype.kind == "i"
                else np.float32(gamma) * before[name] + np.float32(1 - gamma) * after[name]
                for name in before
            })
            for gamma in gammas
        ])  # fmt: skip
        assert curve == pytest.approx(found["curve"][4, :, column, 0], abs=FEW)
        heights.append((curve - (gammas * curve[-1] + (1 - gammas) * curve[0])).max())
        assert heights[-1] == pytest.approx(found["height"][4, column, 0], abs=2 * FEW)
    assert heights[0] > heights[1] + 0.01, "the test's own premise"


@pytest.mark.parametrize("preset", PRESETS)
def test_matching_verdicts_come_out_again(preset):
    """The sparsest level of the first rewind step misses, level 4 of the last matches: means over replicates."""
    kept, about = record(preset, "winning_tickets")["error"], settings(preset)
    steps, replicates = about["rewind_step"], range(about["replicates"])
    verdicts, recorded = [], []
    dense = [error(solution(preset, 0, steps[0], r)) for r in replicates]
    for column, level in ((0, len(kept) - 1), (len(steps) - 1, 4)):
        again = [error(solution(preset, level, steps[column], r)) for r in replicates]
        assert again == pytest.approx(kept[level, column, : len(again)], abs=FEW)
        verdicts.append(np.mean(again) <= np.mean(dense) + EPSILON)
        recorded.append(kept[level, column].mean() <= kept[0, 0].mean() + EPSILON)
    assert dense == pytest.approx(kept[0, 0, : len(dense)], abs=FEW)
    assert verdicts == recorded == [False, True]


@pytest.mark.parametrize(("name", "options"), [("cnn1d", {}), ("resnet1d", {"blocks": 2}), ("resnet1d", {})])
def test_the_plain_networks_are_those_of_the_library(name, options):
    """So that the checks above find their way into weights that are published later; this one test uses lotterylib."""
    from lotterylib import architectures

    torch.manual_seed(0)
    theirs = architectures.module(name, (40,), 10, width=6, **options)
    x = torch.randn(32, 40)
    theirs(x)  # running statistics of their own
    own = plain.network({name: tensor.numpy() for name, tensor in theirs.state_dict().items()})
    assert torch.allclose(own(x), theirs.eval()(x), atol=1e-5)
