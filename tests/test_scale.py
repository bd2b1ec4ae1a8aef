"""What chapter 7 counts and compares, against counts by hand."""

import json
import math
import types

import pytest
import torch
from test_figures import check_words, figures_of_scale
from torch import nn

from lotterybook import claims, records, verdicts
from lotterybook.experiment import recorded
from lotterybook.narrow import narrow
from lotterybook.presets import PRESETS
from lotterybook.scale import blocks, costs, experiments, figures, findings, middle, readings, stability
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
    assert costs.Work.of("book").weights == 11880 and costs.Work.of("paper").weights == 270896


def test_the_larger_networks_are_the_references():
    work = costs.larger()
    assert work["ResNet-18, CIFAR-100"].weights == 11220132 - 9600 - 100  # without BatchNorm and the last bias
    forward = work["ResNet-50, ImageNet"].step_operations / 1024 / 3 / 2
    assert forward == pytest.approx(4.09e9, rel=0.02)  # multiplications an image, as published with torchvision's


def test_speeds_are_those_of_the_benchmark_and_bills_follow():
    """By hand from the files: 849 and 1,198 replicate-steps a second, 789.2 TFLOP/s."""
    card = costs.measured()
    assert card["device"] == "NVIDIA H200" and card["date"] == "2026-11-26"
    assert card["rates"][costs.ALONE] == 94 and card["rates"][costs.CAPTURED] == 420
    assert card["rates"][costs.OF_THE_BLOCK] == 849 and card["rates"][costs.FASTEST] == 1198
    assert card["peak"] == pytest.approx(789.2e12) and card["evaluation"] == pytest.approx(0.0638)
    assert not any("NCHW" in way for way in card["rates"])
    block, paper, small, large = costs.bills()
    assert block.seconds == pytest.approx(costs.Work.of("lent").steps / 849)
    assert paper.seconds == pytest.approx(costs.Work.of("paper").steps / 1198) and not paper.extrapolated
    rate = 1198 * costs.Work.of("paper").step_operations
    assert large.extrapolated and large.seconds == pytest.approx(large.work.operations / rate)
    assert all(bill.least == pytest.approx(bill.work.operations / 789.2e12) for bill in costs.bills())
    assert all(bill.least < bill.seconds for bill in costs.bills()) and small.seconds < large.seconds
    text = costs.budget()._repr_markdown_().splitlines()
    assert len(text) == 6 and "on one NVIDIA H200" in text[0] and "| 6 minutes | 12 seconds |" in text[2]
    assert "| 12 hours (extrapolated) |" in text[4] and "| 9.7\u00a0·\u00a010¹⁵ |" in text[2]
    assert costs.told(large) == "40 days, not under 45 hours, extrapolated"
    assert set(figures.WAYS) <= set(card["rates"])


def test_many_cards_are_counted_by_hand():
    """99 of a hundred, in three groups; a ring sends the gradients of 25.5 million weights twice in each step."""
    bill = costs.bills()[-1]
    found = costs.many(bill, 100)
    trainings = 3 * (112590 + 15 * (112590 - 5000)) / 112590  # of 90 passes each, level 0 the only whole one
    step = found["divided"] / (trainings / 3 * 112590)
    assert found["jobs"] == pytest.approx(bill.seconds / 3) and found["group"] == 33
    assert found["step"] == pytest.approx(step) and found["divided"] == pytest.approx(found["jobs"] / 33)
    assert found["gradient"] == pytest.approx(4 * 25.5e6, rel=0.002)
    assert found["traffic"] == pytest.approx(2 * found["gradient"] / step)
    assert found["pictures"] == pytest.approx(3 * 1024 / step)
    assert found["pixels"] == pytest.approx(found["pictures"] * 224 * 224 * 3)
    assert found["stored"] == 1281167 * 150528 and 1 / found["factor"] == pytest.approx(bill.least / bill.seconds)


def made():
    """Records by hand: mean dense error 0.1; six levels, two rewind steps, two replicates alike but for one barrier.

    From level 4 on k = 0 matches once and is never connected in the mean; k = 7 matches twice, and is connected three
    times.
    """
    excess = [[0, 0], [0.02, 0], [0, 0], [0.005, 0.001], [0.03, 0.005], [0.03, 0.0051]]
    height = [[0.5, 0.03], [0.5, 0.0], [0.4, 0.0], [0.4, 0.0], [0.3, 0.005], [0.001, 0.004]]
    steps, density = torch.tensor([0, 7]), 0.8 ** torch.arange(7).double()
    error = 0.1 + torch.tensor([[0, 0], *excess], dtype=torch.float64)[..., None].repeat(1, 1, 2)
    barrier = torch.tensor(height, dtype=torch.float64)[..., None].repeat(1, 1, 2)
    barrier[-1, 0, 1] = 0.2  # so the mean is above the limit, one replicate below
    axes = {"density": density, "rewind_step": steps}
    return {"error": error, **axes}, {"height": barrier, "recalibrated": barrier / 100, **axes}


def test_the_law_is_counted_by_hand():
    tickets, barriers = made()
    assert readings.count(tickets, barriers) == (2, 1, 1, 2)
    assert readings.count(tickets, barriers, "recalibrated") == (3, 0, 3, 0)
    assert readings.told_by_step(tickets, barriers) == 6  # k = 0 never, k = 7 always
    assert readings.last_levels(tickets, barriers) == [[4, 5], [3, 6]]
    row = findings.law_at_scale(tickets, barriers)
    assert row.value == "*If*: 2 of 3 matching pairs are connected. *Only if*: 2 of 3 connected pairs match"
    assert row.verdict == verdicts.FAILS and "at least 85 %" in row.measure
    assert findings.verdict(tickets, barriers) == [row]
    text = findings.turning({"here": (tickets, barriers)})
    assert text[2] == "| here | 0 | 41 % (level 4) | at no level |"
    assert text[3] == "| here | 7 | 33 % (level 5) | 26 % (level 6), the last |"


def test_pairs_are_counted_apart_by_stability():
    """By hand from ``made``: of k = 7 two match, and all three are connected; of k = 0 one matches, none is."""
    tickets, barriers = made()
    unstable = {"rewind_step": torch.tensor([0, 7]), "height": torch.tensor([[0.5, 0.6], [0.02, 0.01]])}
    pairs = readings.means(tickets, barriers).levels(4), [0, 7]
    late, early = readings.apart(*pairs, unstable)
    assert late == (2, 0, 1, 0) and early == (0, 1, 0, 2)
    assert readings.together((late, early)) == readings.count(tickets, barriers)
    never = {**unstable, "height": torch.full((2, 2), 0.02)}
    assert readings.apart(*pairs, never) == ((0, 0, 0, 0), (2, 1, 1, 2))
    scales = {"one": (tickets, barriers), "other": (tickets, barriers), "not measured": None}
    rows = [line.split(" | ") for line in stability.by_stability(scales, {"one": unstable, "other": never})[2:]]
    assert rows[0] == ["| one", "from step 7", "2 of 2", "2 of 3", "0 of 1", "no pair |"]
    assert rows[1] == ["| other", "at none of its steps", "no pair", "no pair", "2 of 3", "2 of 3 |"]
    assert rows[2] == ["| together", "", "2 of 2", "2 of 3", "2 of 4", "2 of 3 |"]


def test_other_networks_are_sorted_by_their_own_instability(monkeypatch):
    """By hand from ``made``: stable from step 7, at none of two steps, and at the only one, which the record pads."""
    tickets, barriers = made()
    error, barrier, steps = tickets["error"], barriers["height"], torch.tensor([[0, 7], [7, -1]])
    made_of = {
        "contrast": {"network": "cnn1d"},
        "barriers.networks": [{"network": "resnet1d", "width": w} for w in (8, 9)],
    }
    lacking = [values.flip(1).clone() for values in (error, barrier)]
    for values in lacking:
        values[:, 1] = torch.nan
    height = torch.tensor([[[0.5, 0.6], [0.5, 0.5]], [[0.01, 0.01], [torch.nan, torch.nan]]])
    found = {
        "contrast": {
            "error": error, "barrier": barrier, "rewind_step": steps[0],
            "instability": torch.tensor([[0.5, 0.6], [0.02, 0.01]]),
        },
        "architectures": {
            "error": torch.stack([error, lacking[0]]), "barrier": torch.stack([barrier, lacking[1]]),
            "rewind_step": steps,
        },
        "other_instabilities": {"height": height, "rewind_step": steps},
    }  # fmt: skip
    for name, arrays in found.items():
        record = records.Record(arrays, {"settings": made_of})
        monkeypatch.setattr(stability, name, lambda *_, record=record: record)
    rows = [line.split(" | ") for line in stability.others_by_stability("book")[2:]]
    assert rows[0] == ["| plain 24", "from step 7", "2 of 2", "2 of 3", "0 of 1", "no pair |"]
    assert rows[1] == ["| residual 8", "at none of its steps", "no pair", "no pair", "2 of 3", "2 of 3 |"]
    assert rows[2] == ["| residual 9", "from step 7", "2 of 2", "2 of 3", "no pair", "no pair |"]
    assert rows[3] == ["| together", "", "4 of 4", "4 of 6", "2 of 4", "2 of 3 |"]
    (row,) = stability.stability_tested("book")
    assert row.value == "*If*: 4 of 4 matching pairs are connected. *Only if*: 4 of 6 connected pairs match"
    assert row.verdict == verdicts.FAILS and "at least 85 %" in row.measure


def test_records_are_read_at_some_rewind_steps():
    tickets, barriers = (readings.at_steps(record, [7]) for record in made())
    assert tickets["error"].shape == (7, 1, 2) and tickets["rewind_step"].tolist() == [7]
    assert barriers["height"].shape == barriers["recalibrated"].shape == (6, 1, 2)
    assert barriers["height"].max() == 0.03
    assert findings.shown_steps("book") == (0, 25, 75) and findings.shown_steps("lent") == (0, 1000)


def test_the_published_numbers_are_counted_by_the_same_rule():
    """Levels 4 to 9 match, as far as 10 the line is open; 13 is 3.705 above the mean of 8.96 and 9.63."""
    tickets, barriers = findings.published()
    assert tickets["error"].shape == (16, 1, 1) and barriers["height"].shape == (15, 1, 1)
    assert 100 * float(barriers["height"][10]) == pytest.approx(13 - (8.96 + 9.63) / 2)
    assert not barriers["height"][:10].any()
    assert readings.count(tickets, barriers) == (6, 0, 1, 5) and readings.last_levels(tickets, barriers) == [[9], [10]]
    assert sum(experiments.PUBLISHED["pairs"]) == 12 * len(experiments.PUBLISHED["rewind_steps"])


def test_a_network_is_stable_from_where_it_stays_so():
    heights = {"rewind_step": torch.tensor([0, 5, 10, 20]), "height": torch.tensor([[0.3], [0.01], [0.03], [0.019]])}
    assert readings.stable_from(heights) == 20
    assert readings.stable_from({**heights, "height": torch.full((4, 2), 0.5)}) is None


def test_without_the_block_the_chapter_says_what_is_missing(folders):
    with pytest.raises(FileNotFoundError, match="records/lent"):
        findings.block()


def test_the_scales_are_described_and_the_lossy_copy_is_named():
    text = findings.settings("book")
    assert text[0] == "|  | testbed | ResNet-8, Fashion-MNIST | ResNet-20, lossy CIFAR-10 | ResNet-20, published |"
    rows = {line.split(" | ")[0].strip("| "): line for line in text}
    assert "| 11,880 | 19,464 | 270,896 | 270,896 |" in rows["prunable weights"]
    assert "a lossy copy (JPEG, quality 75)" in rows["data"] and rows["data"].count("lossy") == 1
    assert "15 passes" in rows["steps"] and "160 passes" in rows["steps"] and rows["replicates"].endswith("| 4 | 4 |")
    assert "at most 17.1 % of training" in rows["rewind steps"] and "at most 3.2 %" in rows["rewind steps"]


def test_what_the_chapter_quotes_is_in_the_record():
    named, record = findings.numbers(), findings.block()
    error, height = record["winning_tickets"]["error"], record["successive_barriers"]["height"]
    excess = error[1:].mean(-1) - error[0].mean()
    assert named["lent best"] == f"{-100 * excess[:, 1].min():.1f} points"
    counted = [int(((excess[3:] <= 0.005) & (height[3:].mean(-1) <= 0.005)).sum()), int((excess[3:] <= 0.005).sum())]
    assert named["lent if"] == "{} of {}".format(*counted) == "10 of 12"
    assert named["lent only if"] == "10 of 11" and named["lent by step"] == "22 of 22"
    assert named["lent agreement"] == "19 of 22" and named["lent stable from"] == "1,000"
    assert named["three scales if"] == "38 of 64" and named["three scales only if"] == "38 of 39"
    assert named["stable if"] == named["stable only if"] == "23 of 24" and named["early if"] == "15 of 40"
    assert named["published pairs if"] == "19 of 20" and named["published pairs only if"] == "19 of 22"
    assert named["card price of 16"] == f"{16 * 420 / 1198:.1f}" and named["block evaluations"] == "616"
    assert (
        findings.law_at_scale(record["winning_tickets"], record["successive_barriers"]).verdict == verdicts.PARTLY
    )  # 83.3 % of matching pairs, and the rule says 85


def test_the_middle_scale_is_counted_from_its_record():
    """Without the findings: means over replicates, half a point, levels from 4 on; none of its steps is stable."""
    tickets, barriers, unstable = (recorded(name, "medium") for name in experiments.NEEDED)
    excess = tickets["error"][1:].mean(-1) - tickets["error"][0].mean()
    match, joined = excess[3:] <= 0.005, barriers["height"][3:].mean(-1) <= 0.005
    named = findings.numbers()
    assert named["middle if"] == f"{int((match & joined).sum())} of {int(match.sum())}" == "6 of 19"
    assert named["middle only if"] == f"{int((match & joined).sum())} of {int(joined.sum())}" == "6 of 6"
    assert int(named["middle last matching"]) == 3 + int(match[:, 2].long().cumprod(0).sum()) == 11
    assert int(named["middle last connected"]) == 3 + int(joined[:, 2].long().cumprod(0).sum()) == 8
    back = recorded("robustness", "medium")["random"][:, 0].mean(-1)  # as long as IMP's own perturbation
    assert (back[:, 2] <= 0.01).all() and (back[:, :2] > 0.01).all()  # of which the chapter tells
    least = 100 * unstable["height"].mean(-1).min()
    assert named["middle least instability"] == f"{least:.1f} points" and least > 2


def test_each_block_is_counted_against_its_own_dense_networks():
    """By hand: the second block's dense error is lower, so at step 1,000 its last level is a point above."""
    record, named = findings.block(), findings.numbers()
    error, height = record["winning_tickets"]["error"], record["successive_barriers"]["height"]
    assert list(findings.by_block()) == [(0, 1), (2, 3)] and findings.by_block()[0, 1] == (11, 2, 0, 9)
    assert findings.by_block()[2, 3] == (10, 1, 1, 10)
    assert float(error[-1, 1, 2:].mean() - error[0, 0, 2:].mean()) == pytest.approx(0.01015)
    assert named["lent if, block 1"] == "11 of 13"
    assert named["lent if, block 2"] == named["lent only if, block 2"] == "10 of 11"
    assert [row.split(" | ")[-1] for row in findings.by_scale() if "alone" in row] == ["holds partly |", "holds |"]
    last = 100 * height[-1, 0]
    assert [named[f"lent last barrier, seed {seed}"] for seed in range(4)] == [f"{value:.1f} points" for value in last]
    assert (last < 5).tolist() == [False, True, False, False]  # the exception of which the chapter tells
    assert named["lent last barrier, block 1"] == f"{float(last[:2].mean()):.1f} points"
    assert named["lent lowest barrier, block 2"] == f"{100 * float(height[:, 0, 2:].min()):.1f} points"
    assert named["lent seconds, block 2"] == "601 seconds"


def test_the_editor_gets_sentences():
    told = findings.sentences()
    assert "lossy" in told[0] and "NVIDIA H200" in told[0] and "*if* 10 of 12" in told[0]
    assert any("tells 22 of 22 pairs, matching 19" in sentence for sentence in told)
    assert any(sentence.startswith("ResNet-8, Fashion-MNIST: *if* 6 of 19") for sentence in told)
    assert [row[:20] for row in findings.over_tolerance()][2].startswith("| 0.10 points | 10 ")


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
    counted = readings.count(tickets, barriers)
    assert sum(counted) == 2 * (config.levels - 3)
    drawing = figures.law(tickets, barriers, "ResNet-20, lossy CIFAR-10")
    assert f"Of {counted.both + counted.only_matching} points that match {counted.both} are connected" in drawing.alt
    assert drawing.caption.startswith("ResNet-20, lossy CIFAR-10: 10 of 12 matching pairs are connected, 10 of 11 ")


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


def test_claims_at_the_middle_scale_are_counted_by_hand(monkeypatch):
    """C1 as above, and with statistics measured anew; C4 by the mean share over the levels that match."""
    tickets, barriers = made()
    share = torch.tensor([[0.4, 0.6], [0.4, 0.8], [0.4, 0.2], [0.4, 0.8], [0.4, 0.6]], dtype=torch.float64)
    refill = {"refilled": (0.2 * share)[..., None].repeat(1, 1, 2), "fraction": torch.tensor(0.2)}
    late = middle.refilled(refill, tickets, 7)
    assert late.value.startswith("60 ± 0 % of") and late.verdict == verdicts.HOLDS
    never = {**tickets, "error": tickets["error"] + (torch.arange(7) > 0)[:, None, None]}
    assert middle.refilled(refill, never, 7).verdict == verdicts.UNTESTED
    refill["refilled"][:, 1] /= 2
    assert middle.refilled(refill, tickets, 7).verdict == verdicts.FAILS
    records = {"winning_tickets": tickets, "successive_barriers": barriers, "refilling": refill}
    for name, record in records.items():
        monkeypatch.setattr(middle, name, lambda preset, record=record: record)
    monkeypatch.setattr(
        middle, "PRESETS", {"medium": types.SimpleNamespace(tickets=types.SimpleNamespace(control_step=7))}
    )
    other = verdicts.Verdict("claim", "measure", "value", verdicts.PARTLY)
    for room in (middle.robustness, middle.limits):
        monkeypatch.setattr(room, "row", lambda preset, called=room.__name__: other._replace(claim=called))
    plain, anew, *two, last = middle.claims()
    assert plain.value.startswith("*if*: 2 of 3") and anew.value.startswith("*if*: 3 of 3")
    assert [each.claim.split(".")[1] for each in two] == ["robustness", "limits"]
    assert anew.measure == plain.measure and last.verdict == verdicts.FAILS


def test_examples_are_those_that_a_preset_uses():
    assert costs.examples("medium") == 10000 and costs.examples("book") == 4000 and costs.examples("paper") == 50000


def test_the_published_numbers_fit_together():
    """16 levels; halfway the error is above that of both ends, from where it leaves them on."""
    error, midway = experiments.PUBLISHED["error"], experiments.PUBLISHED["midway"]
    assert len(error) == PRESETS["paper"].main.config.levels + 1
    assert all(value > max(error[level], error[level + 1]) for level, value in midway.items())


def drawn():
    """The figures of the chapter by name, with a testbed made by hand."""
    tickets, barriers = made()
    unstable = {"rewind_step": torch.tensor([0, 7, 20]), "height": torch.tensor([[0.5, 0.6], [0.1, 0.1], [0.01, 0.0]])}
    return dict(figures_of_scale(tickets, barriers, unstable))


def test_figures_are_readable_in_both_widths():
    """Words lie apart and inside, and the tables have numbers; no other record is needed for it."""
    for name, figure in drawn().items():
        for label, drawing in (figure.drawings if hasattr(figure, "drawings") else {"": figure}).items():
            check_words(f"{name} {label}", drawing.figure)
            check_words(f"{name} {label} on a phone", narrow(drawing.figure))
            text = drawing.csv() + drawing.alt + drawing.caption
            assert "nan" not in text and drawing.alt.endswith(".") and drawing.caption.endswith("."), name


def test_figures_say_what_they_show():
    found = drawn()
    record = findings.block()
    excess = 100 * (record["winning_tickets"]["error"][1:].mean(-1) - record["winning_tickets"]["error"][0].mean())
    assert f"k = 1000 −{-excess[:, 1].min():.2f} to +{excess[:, 1].max():.2f}" in found["scales' errors"].alt
    assert "testbed (dense 10.0 %) k = 0 +0.00 to +3.00" in found["scales' errors"].alt
    assert "lossy copy of CIFAR-10 is 1.6 points better than the dense one" in found["scales' errors"].caption
    beside = found["scales side by side"]
    assert "testbed: k = 0 matches down to level 4 and is connected down to no level" in beside.alt
    assert "match down to level 9 and are connected down to level 10" in beside.caption
    assert beside.caption.endswith("match down to level 13 and are connected down to level 14, the last.")
    single = found["scales' replicates"].drawings
    assert "end with barriers of 65.9, 3.4, 59.7 and 47.7 points" in single["interpolated"].caption
    assert "if 41 of 51 (80 %), only if 41 of 45 (91 %)" in single["interpolated"].alt
    clocks = found["scales' instability"].drawings
    assert "testbed from step 20" in clocks["steps"].caption and "from step 2,000" in clocks["steps"].caption
    assert "testbed from 1.3 %" in clocks["share of training"].caption
    assert "from 17.1 %" in clocks["share of training"].caption and "from 3.2 %" in clocks["share of training"].alt
    assert "1,198 steps a second together, 13 times as many" in found["speeds"].caption
    assert "a block trains in 6 minutes" in found["bills"].caption


def test_the_chapter_says_that_the_published_setting_was_not_trained():
    """Its text must change when a record is made."""
    text = (records.PUBLISHED.parent / "chapters" / "07_at_scale.ipynb").read_text()
    assert ("neither of which was trained here" in text) == ("paper" not in experiments.scales("book"))


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
        assert costs.duration(seconds).startswith(said)
