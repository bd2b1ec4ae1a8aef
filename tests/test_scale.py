"""What chapter 7 counts and compares, against counts by hand."""

import math

import pytest
import torch
from torch import nn

from lotterylib import experiments, findings, networks, records, scale, training
from lotterylib.figures import at_scale as draw
from lotterylib.figures import winning_tickets as tickets_figures
from lotterylib.presets import PRESETS


def operations_by_hooks(module, x):
    """Products of a forward and a backward pass, layer by layer: all but the first need the input's gradient."""
    seen = []

    def note(layer, inputs, output):
        weight = layer.weight
        taps = weight[0].numel()
        seen.append(2 * output.numel() * taps)

    for layer in module.modules():
        if isinstance(layer, nn.Conv2d | nn.Linear):
            layer.register_forward_hook(note)
    module(x)
    return 3 * sum(seen) - seen[0]


@pytest.mark.parametrize(("preset", "shape"), [("medium", (1, 28, 28)), ("paper", (3, 32, 32))])
def test_operations_of_a_step_are_those_of_its_layers(preset, shape):
    arm = PRESETS[preset].main
    module = networks.module(arm.network, shape, 10, **arm.options)
    by_hand = operations_by_hooks(module, torch.randn(2, *shape)) / 2 * arm.config.recipe.batch_size
    assert scale.Work.of(preset).step_operations == pytest.approx(by_hand, rel=1e-9)


def test_steps_and_weights_of_the_presets():
    """Level 0 once a replicate, each later level from each rewind step."""
    for name, preset in PRESETS.items():
        config, work = preset.main.config, scale.Work.of(name)
        steps = config.replicates * config.recipe.steps
        for _ in range(config.levels):
            for k in config.rewind_step:
                steps += config.replicates * (config.recipe.steps - k)
        assert work.steps == steps and work.operations == work.step_operations * steps
    assert scale.Work.of("book").weights == 4776 and scale.Work.of("paper").weights == 270896


def test_the_larger_networks_are_the_references():
    work = scale.larger()
    assert work["ResNet-18, CIFAR-100"].weights == 11220132 - 9600 - 100  # without BatchNorm and the last bias
    forward = work["ResNet-50, ImageNet"].step_operations / 1024 / 3 / 2
    assert forward == pytest.approx(4.09e9, rel=0.02)  # multiplications an image, as published with torchvision's


def test_costs_are_measured_or_extrapolated():
    work = {
        "a": scale.Work(10, steps=7200, step_operations=1e9),
        "b": scale.Work(20, steps=100, step_operations=8.64e12),
    }
    text = scale.costs(work, {"a": 1.0})._repr_markdown_().splitlines()
    assert len(text) == 4 and text[2].endswith("| 2 hours |")
    assert text[3].endswith("| 10 days (extrapolated) |")  # 8.64e14 operations at 1e9 a second


def test_speed_is_that_of_training(monkeypatch):
    """Two replicates, one second a step by a clock of our own."""
    now = [0.0]
    monkeypatch.setattr(scale.time, "perf_counter", lambda: now[0])
    update = training.sgd.Group.update

    def slow(group):
        update(group)
        now[0] += 1.0

    monkeypatch.setattr(training.sgd.Group, "update", slow)
    assert scale.speed("smoke", "cpu") == pytest.approx(2.0)


def test_scales_are_those_that_are_recorded(folders):
    published, _ = folders
    assert scale.scales("smoke") == ["smoke"] and scale.scales("book") == ["book"]
    for name in scale.NEEDED:
        (published / "medium").mkdir(parents=True, exist_ok=True)
        (published / "medium" / f"{name}.safetensors").write_bytes(b"")
        assert scale.scales("book") == (["book", "medium"] if name == scale.NEEDED[-1] else ["book"])
    assert scale.scales("paper") == ["medium", "paper"]  # the one asked for, recorded or not


def test_the_published_numbers_fit_together():
    """16 levels; halfway the error is above that of both ends, from where it leaves them on."""
    error, midway = scale.PUBLISHED["error"], scale.PUBLISHED["midway"]
    assert len(error) == PRESETS["paper"].main.config.levels + 1
    assert all(value > max(error[level], error[level + 1]) for level, value in midway.items())
    drawing = draw.published(scale.PUBLISHED)
    assert "Published, not ours" in drawing.alt and "8.3" in drawing.alt and "57 percent" in drawing.alt


def test_the_verdicts_stand_side_by_side():
    text = scale.verdicts(["book", "book"])
    assert text[0] == "| claim | book | book |"
    single = [
        *findings.tickets_and_stability(experiments.winning_tickets("book"), experiments.instability("book")),
        *findings.connected_and_matching(experiments.winning_tickets("book"), experiments.successive_barriers("book")),
    ]
    for row, verdict in zip(text[2:], single, strict=False):
        cells = [cell.strip() for cell in row.strip("|").split(" | ")]
        assert cells[0] == verdict.claim and cells[1] == cells[2] == f"{verdict.value}: **{verdict.verdict}**"


def test_figures_say_what_they_show():
    tickets, barriers = experiments.winning_tickets("book"), experiments.successive_barriers("book")
    unstable = experiments.instability("book")
    assert "k = 0 never" in draw.errors({"book": tickets}).alt
    mean = 100 * float(barriers["height"][:, 0].mean())
    assert f"k = 0 {mean:.1f}" in draw.barriers({"book": barriers}, {"book": tickets}).alt
    first = next(
        int(k) for k, h in zip(unstable["rewind_step"], unstable["height"].mean(1), strict=True) if h < findings.STABLE
    )
    assert f"book is stable from {100 * first / 1500:.1f} %" in draw.instability({"book": unstable}, {"book": 1500}).alt
    never = {"rewind_step": torch.tensor([0, 10]), "height": torch.full((2, 3), 0.5)}
    assert "x is stable nowhere measured" in draw.instability({"x": never}, {"x": 100}).alt


def test_the_chapter_says_whether_the_paper_preset_was_run():
    """Its text must change when a record is made."""
    text = (records.PUBLISHED.parent / "chapters" / "07_at_scale.ipynb").read_text()
    assert ("not yet run" in text) == ("paper" not in scale.scales("book"))


def test_durations_are_readable():
    for seconds, said in ((30, "30 seconds"), (600, "10 minutes"), (2.5 * 86400 * 365, "2 years"), (math.pi, "3 sec")):
        assert scale._duration(seconds).startswith(said)


def test_figures_of_chapter_1_take_other_scales(pictures):
    """Pictures instead of curves, and a contrast that is another learning rate."""
    assert "pictures" in tickets_figures.examples(pictures).alt
    assert findings.contrast_name(experiments.contrast("book")) == "without BatchNorm"
    plain = {"network": "resnet8", "config": {"recipe": {"lr": 0.04}}}
    assert findings.contrast_name(records.Record({}, {"settings": {"plain": plain}})) == "at learning rate 0.04"
