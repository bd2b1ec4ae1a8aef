"""What chapter 7 counts and compares, against counts by hand."""

import json
import math

import pytest
import torch
from torch import nn

from lotterybook import claims, records, verdicts
from lotterybook.barriers.findings import connected_and_matching
from lotterybook.experiment import recorded
from lotterybook.presets import PRESETS
from lotterybook.scale import blocks, costs, experiments, figures, findings
from lotterybook.tickets.findings import tickets_and_stability
from lotterylib import architectures, store, training


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
    module = architectures.module(arm.network, shape, 10, **arm.options)
    by_hand = operations_by_hooks(module, torch.randn(2, *shape)) / 2 * arm.config.recipe.batch_size
    assert costs.Work.of(preset).step_operations == pytest.approx(by_hand, rel=1e-9)


def test_steps_and_weights_of_the_presets():
    """Level 0 once a replicate, each later level from each rewind step."""
    for name, preset in PRESETS.items():
        config, work = preset.main.config, costs.Work.of(name)
        steps = config.replicates * config.recipe.steps
        for _ in range(config.levels):
            for k in config.rewind_step:
                steps += config.replicates * (config.recipe.steps - k)
        assert work.steps == steps and work.operations == work.step_operations * steps
    assert costs.Work.of("book").weights == 4776 and costs.Work.of("paper").weights == 270896


def test_the_larger_networks_are_the_references():
    work = costs.larger()
    assert work["ResNet-18, CIFAR-100"].weights == 11220132 - 9600 - 100  # without BatchNorm and the last bias
    forward = work["ResNet-50, ImageNet"].step_operations / 1024 / 3 / 2
    assert forward == pytest.approx(4.09e9, rel=0.02)  # multiplications an image, as published with torchvision's


def test_costs_are_measured_or_extrapolated():
    work = {
        "a": costs.Work(10, steps=7200, step_operations=1e9),
        "b": costs.Work(20, steps=100, step_operations=8.64e12),
    }
    text = costs.costs(work, {"a": 1.0})._repr_markdown_().splitlines()
    assert len(text) == 4 and text[2].endswith("| 2 hours |")
    assert text[3].endswith("| 10 days (extrapolated) |")  # 8.64e14 operations at 1e9 a second
    assert "| 7.2\u00a0·\u00a010¹² |" in text[2] and "| 8.6\u00a0·\u00a010¹⁴ |" in text[3]


def small():
    """Records made by hand: mean dense error 0.10, epsilon 0.0173; two levels, two rewind steps, three replicates."""
    dense = [0.08, 0.11, 0.11]
    error = [[dense, dense], [[0.105, 0.13, 0.12], [0.09, 0.10, 0.112]], [[0.30, 0.30, 0.30], [0.09, 0.11, 0.20]]]
    height = [[[0.50, 0.60, 0.70], [0.03, 0.01, 0.015]], [[0.40, 0.40, 0.40], [0.01, 0.30, 0.01]]]
    steps, error, height = torch.tensor([0, 7]), torch.tensor(error).double(), torch.tensor(height).double()
    tickets = {"error": error, "density": torch.tensor([1, 0.5, 0.25]), "rewind_step": steps}
    barriers = {
        "height": height, "recalibrated": height / 2, "rewind_step": steps,
        "curve": torch.stack([error[:-1], error[1:] + height, error[1:]], 1),
    }  # fmt: skip
    return tickets, barriers


def test_pairs_are_counted_by_hand():
    named = findings.pairs(*small(), few=2)
    assert named["height if k=0"] == "0 of 1" and named["height connected k=0"] == "0 of 6"
    assert named["height if k=7"] == "3 of 5"  # 0.03 and 0.30 are above epsilon; the sixth pair does not match
    assert named["height others k=7"] == "1 of 1" and named["height connected k=7"] == "4 of 6"
    assert named["recalibrated if k=7"] == "4 of 5"  # 0.15 remains above
    assert named["first if k=7"] == "2 of 3" and named["first k=7"] == "1.0 to 3.0 points"
    assert named["height k=7"] == "1.8 ± 1.0 points" and named["last recalibrated k=0"] == "20.0 ± 0.0 points"
    assert named["highest k=0"] == "71 ± 5 %"  # 0.6525, 0.715, 0.76
    assert named["sparse if"] == "1 of 2" and named["sparse only if"] == "1 of 2"
    assert named["sparse if at half a point"] == "0 of 1" and named["sparse only if at half a point"] == "0 of 0"
    assert named["thinned if k=7"] == "5 of 5"  # at the ends alone nothing rises
    assert findings.pairs(*small(), few=3)["thinned if k=0"] == "0 of 1"


def test_shares_that_match_by_each_limit():
    tickets, _ = small()
    mean, own, half = (findings.matching_share(tickets, limit).tolist() for limit in findings.LIMITS.values())
    assert mean == pytest.approx([1 / 6, 5 / 6])  # at most 0.1173
    assert own == pytest.approx([1 / 6, 5 / 6])  # 0.0973, 0.1273, 0.1273: another one of k = 0
    assert half == pytest.approx([0, 1 / 2])  # 0.085, 0.115, 0.115


def block(seed, levels=3, **changes):
    """Results as ``gpu_run.py`` writes them, of two rewind steps and two replicates; a number says where it belongs."""

    def row(level):
        each = [[seed + r + 10 * column + 100 * level for r in (0, 1)] for column in (0, 1)]
        flat = [value for column in each for value in column]
        between = {"barrier": flat, "projection": flat, "curve": [flat] * 3, "recalibrated": {"barrier": flat}}
        return {"density": 0.8**level, "error": flat} | (between if level else {})

    made = {
        "plan": {"steps": 9, "rewind_step": [0, 4], "replicates": 2, "seed": seed, "levels": levels - 1, "way": "x"},
        "data": "cifar10_jpeg75", "digest": "d", "recipe": {"steps": 9}, "levels": [row(i) for i in range(levels)],
        "sessions": [{
            "device": f"card {seed}", "library": "x", "seconds": 5 + seed,
            "machine": {"torch": "2.11", "numpy": "2", "python": "3.12", "date": f"2026-11-2{seed}"},
        }],
        "instability": {"k": [0, 2, 4], "height": [[seed, seed + 1]] * 3, "curve": []},
    }  # fmt: skip
    return {**made, **changes}


def test_blocks_of_replicates_stand_beside_each_other():
    """Level 100, rewind step 10, replicate 1: each number says where it belongs; the second block has a level less."""
    record = blocks.joined([block(2, levels=2), block(0)])
    for name, first in (("winning_tickets", 0), ("projections", 1)):
        error = record[name]["error"]
        by_hand = [[[100 * level + 10 * k + r for r in range(4)] for k in (0, 1)] for level in range(first, 2)]
        assert error.tolist() == by_hand, name
    barriers = record["successive_barriers"]
    assert barriers["height"].tolist() == [[[100, 101, 102, 103], [110, 111, 112, 113]]]
    assert barriers["curve"].shape == (1, 3, 2, 4) and barriers["curve"][0, 2].equal(barriers["height"][0])
    assert barriers["density"].tolist() == [1, pytest.approx(0.8)] and barriers["rewind_step"].tolist() == [0, 4]
    assert record["instability"]["height"].tolist() == [[0, 1, 2, 3]] * 3
    assert record.about["seeds"] == [0, 1, 2, 3]
    made = [(part["seeds"], part["made"][0]["device"]) for part in record.about["blocks"]]
    assert made == [([0, 1], "card 0"), ([2, 3], "card 2")] and record.about["data"] == "cifar10_jpeg75"
    assert barriers["recalibrated"].equal(barriers["height"])
    assert record.about["device"] == "card 0, card 2" and record.about["seconds"] == 5 + 7
    assert record.about["date"] == "2026-11-22" and record.about["versions"]["torch"] == "2.11"
    without = {name: value for name, value in block(2).items() if name != "instability"}
    del without["levels"][2]["recalibrated"], without["sessions"][0]["seconds"]
    less = blocks.joined([block(0), without])
    assert "instability" not in less and "recalibrated" not in less["successive_barriers"]
    assert "seconds" not in less.about


@pytest.mark.parametrize(("others", "message"), [
    ([], "no block"),
    ([block(0), block(1)], "share seeds: .0, 1, 1, 2."),
    ([block(0), block(2, recipe={"steps": 8})], "differ in recipe"),
    ([block(0), block(2, digest="other")], "differ in digest"),
])  # fmt: skip
def test_blocks_that_do_not_belong_together_are_refused(others, message):
    with pytest.raises(ValueError, match=message):
        blocks.joined(others)


def test_a_joined_record_is_published_and_read(folders, tmp_path, capsys):
    assert blocks.published() is None
    paths = [tmp_path / f"{seed}.json" for seed in (0, 2)]
    for path, seed in zip(paths, (0, 2), strict=True):
        path.write_text(json.dumps(block(seed)))
    blocks.main(paths)
    assert "seeds [0, 1, 2, 3], 3 levels" in capsys.readouterr().out
    record = blocks.published()
    assert record["winning_tickets"]["error"].shape == (3, 2, 4) and len(record.about["blocks"]) == 2


def test_the_published_block_is_what_its_preset_says_and_gives_the_figure():
    record, preset = blocks.published(), PRESETS["lent"]
    assert record.about["device"] == "NVIDIA H200" and record.about["data"] == preset.dataset == "cifar10_jpeg75"
    plan, config = record.about["plan"], preset.main.config
    assert plan["network"] == preset.main.network and plan["points"] == preset.tickets.points
    assert plan["rewind_step"] == list(config.rewind_step) and plan["replicates"] == config.replicates
    assert record.about["recipe"] == json.loads(json.dumps(store.plain(config.recipe)))  # so later blocks join
    tickets, barriers = record["winning_tickets"], record["successive_barriers"]
    count = len(record.about["seeds"])
    assert tickets["error"].shape == (config.levels + 1, 2, count) and count % config.replicates == 0
    assert barriers["height"].shape == barriers["recalibrated"].shape == (config.levels, 2, count)
    assert record["instability"]["rewind_step"].tolist() == list(preset.tickets.instability_steps)
    counted = findings.as_authors_count(tickets, barriers)
    assert sum(counted) == 2 * (config.levels - 3)
    alt = figures.law(tickets, barriers, "ResNet-20, lossy CIFAR-10, NVIDIA H200").alt
    assert f"of {counted.both + counted.only_matching} points that match {counted.both} are connected" in alt


def test_points_are_counted_as_the_authors_do():
    """Means over replicates; up to half a point on both axes. Dense 0.10; excess -0.0007 and 0.1; barriers by hand."""
    tickets, barriers = small()
    found = findings.authors_points(tickets, barriers)
    by_hand = [(0.105 + 0.13 + 0.12) / 3 - 0.1, (0.09 + 0.10 + 0.112) / 3 - 0.1]
    assert found["excess"][0].tolist() == pytest.approx(by_hand, abs=1e-7)
    assert found["barrier"][1].tolist() == pytest.approx([0.4, 0.32 / 3], abs=1e-7)
    # halfway the curve is the sparser error plus the barrier, and its ends' mean lies half of their difference away
    halfway = 0.6 + (0.105 + 0.13 + 0.12) / 3 - (0.1 + (0.105 + 0.13 + 0.12) / 3) / 2
    assert found["midpoint"][0, 0].item() == pytest.approx(halfway, abs=1e-7)
    assert findings.as_authors_count(tickets, barriers, first=1) == (0, 1, 0, 3)  # at 0.0007 points one matches
    assert findings.as_authors_count(tickets, barriers, first=1, limit=0.02) == (1, 1, 0, 2)
    assert findings.as_authors_count(tickets, barriers, first=2) == (0, 0, 0, 2)
    alt = figures.law(tickets, barriers, "Here", first=1).alt
    assert alt.startswith("Here: of 1 points that match 0 are connected, of 3 that do not 3 are not")


def test_speed_is_that_of_training(monkeypatch):
    """Two replicates, one second for a step of both by a clock of our own."""
    now = [0.0]
    monkeypatch.setattr(costs.time, "perf_counter", lambda: now[0])
    update = training.sgd.Group.update

    def slow(group):
        update(group)
        now[0] += len(group.rows) / 2

    monkeypatch.setattr(training.sgd.Group, "update", slow)
    assert costs.speed("smoke", "cpu") == pytest.approx(2.0)


def test_scales_are_those_that_are_recorded(folders):
    published, _ = folders
    assert experiments.scales("smoke") == ["smoke"] and experiments.scales("book") == ["book"]
    for name in experiments.NEEDED:
        (published / "medium").mkdir(parents=True, exist_ok=True)
        (published / "medium" / f"{name}.safetensors").write_bytes(b"")
        assert experiments.scales("book") == (["book", "medium"] if name == experiments.NEEDED[-1] else ["book"])
    assert experiments.scales("paper") == ["medium", "paper"]  # the one asked for, recorded or not


def test_the_published_numbers_fit_together():
    """16 levels; halfway the error is above that of both ends, from where it leaves them on."""
    error, midway = experiments.PUBLISHED["error"], experiments.PUBLISHED["midway"]
    assert len(error) == PRESETS["paper"].main.config.levels + 1
    assert all(value > max(error[level], error[level + 1]) for level, value in midway.items())
    drawing = figures.published(experiments.PUBLISHED)
    assert "Published, not ours" in drawing.alt and "reaches 57 %" in drawing.alt
    assert "within half a point of the dense 8.3 % down to 13 % of the weights" in drawing.alt
    assert sum(value <= error[0] + 0.5 for value in error) == 10 and round(100 * 0.8**9) == 13
    (axes,) = drawing.figure.axes
    assert [label.get_text() for label in axes.get_xticklabels()] == ["100", "64", "41", "26", "17", "11", "6.9", "4.4"]


def test_the_verdicts_stand_side_by_side():
    text = findings.claims_by_scale(["book", "book"])
    assert text[0] == "| claim | book | book |"
    single = [
        *tickets_and_stability(recorded("winning_tickets", "book"), recorded("instability", "book")),
        *connected_and_matching(recorded("winning_tickets", "book"), recorded("successive_barriers", "book")),
    ]
    for row, verdict in zip(text[2:], single, strict=False):
        cells = [cell.strip() for cell in row.strip("|").split(" | ")]
        assert cells[0] == verdict.claim and cells[1] == cells[2] == f"{verdict.value}: **{verdict.verdict}**"


def test_figures_say_what_they_show():
    tickets, barriers = recorded("winning_tickets", "book"), recorded("successive_barriers", "book")
    unstable = recorded("instability", "book")
    reached = [f"k = {k} {reach}" for k, reach in zip((0, 50), verdicts.reach(tickets), strict=False)]
    assert f"matches: book: {', '.join(reached)}" in figures.errors({"book": tickets}).alt
    before, last = 100 * barriers["height"][:-1, 0].mean(), 100 * barriers["height"][-1, 0].mean()
    assert f"k = 0 {before:.1f} and {last:.1f}" in figures.barriers({"book": barriers}, {"book": tickets}).alt
    i = next(i for i, height in enumerate(unstable["height"].mean(1)) if height < verdicts.STABLE)
    first, heights = int(unstable["rewind_step"][i]), 100 * unstable["height"][i]
    alt = figures.instability({"book": unstable}, {"book": 1500}).alt
    assert alt.startswith("The dense network is stable on book first below 2 points at ")
    assert f"at {100 * first / 1500:.1f} % of its training, with {heights.mean():.1f} ± {heights.std():.1f}" in alt
    never = {"rewind_step": torch.tensor([0, 10]), "height": torch.full((2, 3), 0.5)}
    assert "The dense network is stable on x nowhere measured" in figures.instability({"x": never}, {"x": 100}).alt


def test_the_chapter_says_whether_the_paper_preset_was_run():
    """Its text must change when a record is made."""
    text = (records.PUBLISHED.parent / "chapters" / "07_at_scale.ipynb").read_text()
    assert ("not yet run" in text) == ("paper" not in experiments.scales("book"))


def test_the_time_left_goes_by_what_is_usual(monkeypatch):
    monkeypatch.setattr(costs, "usual_seconds", lambda preset: {"one": 10.0, "two": 30.0})
    made = {"one": records.Record({}, {"seconds": 2000.0})}
    assert costs.time_left("smoke", made, ["one", "two"]) == "100 minutes"
    assert costs.time_left("smoke", made, ["one", "two", "unknown"]) == "3 hours"  # 30 and the mean, 20
    assert costs.time_left("smoke", {}, ["one"]) == "an unknown time"


def test_usual_are_the_seconds_of_the_preset_s_records_or_of_the_book_s():
    seconds = recorded("winning_tickets", "book").about["seconds"]
    assert costs.usual_seconds("smoke")["winning_tickets"] == costs.usual_seconds("book")["winning_tickets"] == seconds


def test_a_preset_is_forecast_before_it_begins():
    """The paper's 15 million replicate-steps; of the book, what its records took, in units of its main run."""
    text = costs.forecast("paper")
    steps = 4 * (62400 + 15 * (4 * 62400 - 250 - 1000 - 2000))
    assert text[0].startswith(f"main run: {steps:,} replicate-steps")
    assert f"contrast: {4 * (62400 + 15 * (2 * 62400 - 1000)):,}" in text[0]
    assert f"take {15 * PRESETS['paper'].tickets.points * 16:,} evaluations" in text[1]
    assert not any(line.startswith("exact") for line in text)  # at no level
    own = {line.split(":")[0]: line for line in costs.forecast("book")}
    assert own["winning_tickets"] == f"winning_tickets: about {costs.Work.of('book').steps:.1e}"
    seconds = {name: recorded(name, "book").about["seconds"] for name in claims.experiments_of("book")}
    whole = costs.Work.of("book").steps * sum(seconds.values()) / seconds["winning_tickets"]
    assert own["all"].startswith(f"all: about {whole:.1e} replicate-steps, ")


def test_durations_are_readable():
    for seconds, said in ((30, "30 seconds"), (600, "10 minutes"), (2.5 * 86400 * 365, "2 years"), (math.pi, "3 sec")):
        assert costs._duration(seconds).startswith(said)


def test_a_contrast_is_named_by_what_sets_it_apart():
    """No BatchNorm, or another learning rate."""
    assert verdicts.contrast_name(recorded("contrast", "book")) == "without BatchNorm"
    plain = {"network": "resnet8", "config": {"recipe": {"lr": 0.04}}}
    assert verdicts.contrast_name(records.Record({}, {"settings": {"contrast": plain}})) == "at learning rate 0.04"
