"""Iterative magnitude pruning against a plain loop, its checkpoints, and what happens when something goes wrong."""

import dataclasses
import json
import math
import pickle
from fractions import Fraction
from itertools import pairwise

import numpy as np
import pytest
import torch
import twins
from safetensors import safe_open
from torch import nn
from torch.testing import assert_close

from lotterylib import data, imp, networks, order, progress, pruning, sgd, training
from lotterylib.states import select


def same(found, expected):
    """Assert that two runs are the same to the last bit: levels, masks, errors, rewind points."""
    assert len(found) == len(expected)
    states = [(found.rewind, expected.rewind)]
    for level, other in zip(found.levels, expected.levels, strict=True):
        assert torch.equal(level.error, other.error) and level.density == other.density
        states += [(level.state, other.state), (level.mask, other.mask)]
    for one, two in states:
        assert one.keys() == two.keys()
        for name in one:
            assert one[name].dtype == two[name].dtype and torch.equal(one[name], two[name]), name


def wide(net):
    """The network in float64: its initialisation is drawn so, and everything follows."""
    return networks.wrap(lambda: net.make().double(), "cpu")


# What a run is


@pytest.mark.parametrize(
    ("rewinding", "rule"), [("weights", "iterative"), ("weights", "one_shot"), ("learning_rate", "iterative")]
)
def test_a_run_is_a_plain_loop_for_every_rewind_step_and_replicate(ds, net, config, rewinding, rule):
    net, ds = wide(net), twins.double(ds)
    config = dataclasses.replace(config, levels=2, rewinding=rewinding, pruning=rule)
    run = imp.run(net, ds, config)
    assert run.rewind_steps == [0, 0, 5, 5, 12, 12] and run.seeds == [3, 4, 3, 4, 3, 4]
    for column, (k, seed) in enumerate(zip(run.rewind_steps, run.seeds, strict=True)):
        rewind, levels = twins.imp(net, ds, config, k, seed - 3)
        assert_close(twins.part(run.rewind, column), rewind, rtol=1e-8, atol=1e-8)
        assert len(levels) == len(run) == 3
        for level, (state, mask) in zip(run.levels, levels, strict=True):
            assert_close(twins.part(level.state, column), state, rtol=1e-7, atol=1e-7)
            assert all(torch.equal(level.mask[name][column], mask[name]) for name in mask)
            model = twins.module(net, select(level.state, [column]))
            assert float(level.error[column]) == pytest.approx(twins.error(model, ds.test_x, ds.test_y), abs=1e-12)


def test_levels_prune_by_ceil_and_masks_are_nested(small_run, net):
    total = left = 4 * 5 + 2 * 4 * 4 * 3 + 8 * 3  # weights of the convolutions and of the linear layer
    for level, density in zip(small_run.levels, small_run.densities, strict=True):
        assert float(density) == level.density == pytest.approx(left / total)
        assert pruning.remaining(level.mask).tolist() == [left] * 6
        assert set(level.mask) == set(net.prunable)
        for name, keep in level.mask.items():
            assert (level.state[name][~keep] == 0).all() and (level.state[name][keep] != 0).all()
        left -= math.ceil(Fraction(3, 10) * left)
    for before, after in zip(small_run.levels, small_run.levels[1:], strict=False):
        assert not any((after.mask[name] & ~before.mask[name]).any() for name in net.prunable)


def test_a_level_is_training_from_the_rewind_point_inside_its_mask(small_run, ds, net, config):
    """Weights outside m^(L) zero, the others w_k, no momentum, the order of level 0: done here by hand."""
    for level in (1, 3):
        found = small_run[level]
        again = training.train(
            net, small_run.rewind, ds, config.recipe, found.mask, [0, 0, 5, 5, 12, 12], order_seed=[3, 4] * 3
        )
        assert_close(again, found.state, rtol=1e-5, atol=1e-6)
    assert_close(select(small_run.rewind, [0, 1]), net.init(2, seed=3), rtol=0, atol=0)  # w_0 is the initialisation


@pytest.mark.parametrize("until", [0, 1, 3])
def test_the_progress_bar_ends_where_it_said(ds, net, config, tmp_path, monkeypatch, until):
    """It counts every replicate's steps, whether they are trained, resumed or loaded."""
    counted, made = [], progress.bar

    def noting(iterable=None, **options):
        if options.get("desc") != "IMP":
            return made(iterable, **options)
        counted.append([options["total"], 0])
        bar = made(iterable, **options)
        bar.update = lambda count=1: counted[-1].__setitem__(1, counted[-1][1] + count)
        return bar

    monkeypatch.setattr(progress, "bar", noting)
    imp.run(net, ds, dataclasses.replace(config, levels=3), checkpoint=tmp_path)
    for level in range(until, 4):
        (inside(tmp_path) / f"level_{level:02d}.safetensors").unlink()
    imp.run(net, ds, dataclasses.replace(config, levels=3), checkpoint=tmp_path)
    assert counted == [[2 * 30 + 3 * 2 * (30 + 25 + 18)] * 2] * 2


def test_every_level_sees_the_data_of_level_0(ds, net, config, monkeypatch):
    seen, update, gather = [], sgd.Group.update, data.Dataset.gather

    def noting_step(group):
        seen.append([(group.training.seeds[r], group.begin + int(group.row)) for r in group.rows])
        update(group)

    def noting_batch(dataset, *order):
        x, y = gather(dataset, *order)
        if x.dim() == 2:  # no replicate axis: a batch on which the memory is estimated
            return x, y
        seen[-1] = {key: one.clone() for key, one in zip(seen[-1], x, strict=True)}
        return x, y

    monkeypatch.setattr(sgd.Group, "update", noting_step)
    monkeypatch.setattr(data.Dataset, "gather", noting_batch)
    imp.run(net, ds, dataclasses.replace(config, levels=2))
    dense, later = seen[:60], seen[60:]  # two replicates, each a stack of its own
    dense = {key: x for step in dense for key, x in step.items()}
    assert len(later) > 60 - 5 and set().union(*later) == set(dense)
    assert all(torch.equal(x, dense[key]) for step in later for key, x in step.items())


def test_groups_stay_from_level_to_level(ds, net, config, small_run, monkeypatch):
    """On CUDA they hold graphs: as many are made for three levels as for two."""
    made, init = [], sgd.Group.__init__
    monkeypatch.setattr(
        sgd.Group, "__init__", lambda group, *rest: (made.append(tuple(rest[1])), init(group, *rest))[1]
    )
    imp.run(net, ds, dataclasses.replace(config, levels=1))
    first, made[:] = list(made), []
    same(imp.run(net, ds, config), small_run)
    assert made == first and len(set(made)) == len(made)


def test_several_rewind_steps_at_once_are_separate_runs(ds, net, config):
    net, ds = wide(net), twins.double(ds)
    config = dataclasses.replace(config, levels=2)
    together = imp.run(net, ds, config)
    for k in config.rewind_step:
        alone, group = imp.run(net, ds, dataclasses.replace(config, rewind_step=k)), together.at(k)
        assert alone.config == group.config and alone.config.rewind_step == (k,)
        assert alone.rewind_steps == group.rewind_steps == [k, k]
        assert_close(group.rewind, alone.rewind, rtol=1e-9, atol=1e-9)
        for one, two in zip(group.levels, alone.levels, strict=True):
            assert_close(one.state, two.state, rtol=1e-7, atol=1e-7)
            assert_close(one.error, two.error, rtol=0, atol=1e-12)
            assert all(torch.equal(one.mask[name], two.mask[name]) for name in net.prunable)
            assert one.density == two.density


def test_axes_of_a_run(small_run):
    assert len(small_run) == 4 and small_run.densities.shape == (4,)
    errors = small_run.errors
    assert errors.shape == (4, 3, 2) and errors.dtype == torch.float64
    for group, k in enumerate((0, 5, 12)):
        assert torch.equal(errors[:, group], small_run.at(k).errors[:, 0])
        assert torch.equal(errors[2, group], small_run[2].error[2 * group : 2 * group + 2])
        weights = small_run[1].state["linear.weight"][2 * group : 2 * group + 2]
        assert torch.equal(small_run.at(k)[1].state["linear.weight"], weights)
    # level 0 does not depend on the rewind step, and was trained once
    assert all(torch.equal(errors[0, 0], errors[0, g]) for g in (1, 2)) and errors.unique().numel() > 4
    with pytest.raises(ValueError, match="rewind_step is 7.*allowed are 0, 5, 12"):
        small_run.at(7)


def test_the_first_replicates_of_every_rewind_step(small_run):
    part = small_run.first(1)
    assert part.rewind_steps == [0, 5, 12] and part.seeds == [3, 3, 3] and len(part) == len(small_run)
    assert torch.equal(part.errors, small_run.errors[:, :, :1])
    for state, whole in ((part.rewind, small_run.rewind), (part[2].state, small_run[2].state)):
        assert all(torch.equal(state[name], whole[name][[0, 2, 4]]) for name in whole)
    assert all(torch.equal(part[2].mask[name], small_run[2].mask[name][[0, 2, 4]]) for name in part[2].mask)
    same(part.at(5), small_run.at(5).first(1))
    with pytest.raises(ValueError, match="replicates is 3; it must be >= 1 and <= 2"):
        small_run.first(3)


@pytest.mark.parametrize(
    ("change", "match"),
    [
        ({"rewind_step": 30}, "rewind_step is 30; it must be >= 0 and <= 29"),
        ({"rewind_step": (0, -1)}, "rewind_step is -1"),
        ({"rewind_step": 2.0}, "rewind_step is 2.0; it must be a whole number"),
        ({"rewind_step": (5, 5)}, r"rewind_step is \(5, 5\).*only once"),
        ({"rewind_step": ()}, r"rewind_step is \(\).*at least one"),
        ({"levels": -1}, "levels is -1; it must be >= 0"),
        ({"fraction": 0}, "fraction is 0; it must be > 0 and < 1"),
        ({"fraction": 1.0}, "fraction is 1.0"),
        ({"fraction": math.nan}, "fraction is nan"),
        ({"fraction": True}, "fraction is True"),
        ({"fraction": {"linear.weight": 1.2}}, "fraction is 1.2; it must be > 0 and < 1"),
        ({"fraction": "0.2"}, "fraction is '0.2'; it must be a number"),
        ({"seed": 1.5}, "seed is 1.5; it must be a whole number"),
        ({"replicates": 0}, "replicates is 0; it must be >= 1"),
        ({"rewinding": "weight"}, "rewinding is 'weight'.*'learning_rate'; did you mean 'weights'"),
        ({"pruning": "oneshot"}, "pruning is 'oneshot'.*did you mean 'one_shot'"),
    ],
)
def test_config_refuses(config, change, match):
    with pytest.raises(ValueError, match=match):
        dataclasses.replace(config, **change)


def test_a_rate_for_each_layer(ds, net, config):
    rates = {name: 0.25 if "linear" in name else 0.5 for name in net.prunable}
    run = imp.run(net, ds, dataclasses.replace(config, fraction=rates, levels=2, rewind_step=5))
    for name, rate in rates.items():
        left = [int(level.mask[name][0].sum()) for level in run.levels]
        for before, after in pairwise(left):
            assert before - after == math.ceil(rate * before)
    with pytest.raises(ValueError, match="fraction"):
        imp.run(net, ds, dataclasses.replace(config, fraction={"linear.weight": 0.2}, levels=1))


def test_config_takes_what_numpy_counts(ds, net, config):
    """`for k in np.arange(...)` is how sweeps are written."""
    counted = dataclasses.replace(config, rewind_step=np.int64(5), levels=np.int64(0), seed=np.int64(3))
    same(imp.run(net, ds, counted), imp.run(net, ds, dataclasses.replace(config, rewind_step=5, levels=0)))


# Checkpoints


class Stopped(BaseException):
    """What comes when somebody presses Ctrl-C."""


def stop_after(monkeypatch, count):
    """Let training stop after that many steps in all; returns the list of those that the first stack made."""
    original, trained = sgd.Group.update, []

    def stopping(group):
        if group.rows[0] == 0:
            if len(trained) >= count:
                raise Stopped
            trained.append(group.begin + int(group.row))
        original(group)

    monkeypatch.setattr(sgd.Group, "update", stopping)
    monkeypatch.setattr(training, "EVERY", 0)
    monkeypatch.setitem(order.SPAN, "cpu", 3)
    return trained


@pytest.mark.parametrize("every", [4, 13, 50])
def test_interrupted_again_and_again_it_ends_in_the_identical_result(
    ds, net, config, small_run, tmp_path, monkeypatch, every
):
    attempts, trained = 0, 0
    while True:
        attempts += 1
        with monkeypatch.context() as patch:
            steps = stop_after(patch, every)
            try:
                run = imp.run(net, ds, config, checkpoint=tmp_path)
                break
            except Stopped:
                trained += len(steps)
        assert attempts < 120
    same(run, small_run)
    assert trained + len(steps) <= 120 + 3 * attempts  # never more than one span is done again
    assert attempts >= 120 // every
    with monkeypatch.context() as patch:
        stop_after(patch, 0)
        same(imp.run(net, ds, config, checkpoint=tmp_path), small_run)  # finished: everything is read, nothing trained


def inside(folder):
    """The one folder that a run has made in the named one."""
    (own,) = folder.iterdir()
    return own


@pytest.fixture(scope="module")
def finished(ds, net, config, tmp_path_factory):
    """The files of a finished run, by the name of its own folder and theirs."""
    folder = tmp_path_factory.mktemp("finished")
    imp.run(net, ds, config, checkpoint=folder)
    return {path.relative_to(folder): path.read_bytes() for path in inside(folder).iterdir()}


def test_files_of_a_run(finished, small_run):
    sizes = {path.name: len(content) for path, content in finished.items()}
    assert sorted(sizes) == [
        *(f"level_{level:02d}.safetensors" for level in range(4)), "rewind_0.safetensors", "rewind_12.safetensors",
        "rewind_5.safetensors", "settings.json",
    ]  # fmt: skip
    # a level holds its surviving weights only
    assert sizes["level_03.safetensors"] < sizes["level_00.safetensors"] - 4 * 6 * 70
    (settings,) = (json.loads(content) for path, content in finished.items() if path.suffix == ".json")
    assert settings["recipe"]["lr"] == 0.1 and settings["rewind_step"] == [0, 5, 12] and "levels" not in settings
    assert settings["network"]["shapes"]["linear.weight"] == [3, 8]


def restore(files, folder):
    for name, content in files.items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_bytes(content)
    return inside(folder)


@pytest.mark.parametrize("damage", ["flip", "truncate", "empty", "foreign", "garbage"])
@pytest.mark.parametrize("name", ["level_00", "level_02", "rewind_5"])
def test_a_damaged_file_is_named_and_computed_again(ds, net, config, small_run, finished, tmp_path, damage, name):
    path = restore(finished, tmp_path / "run") / f"{name}.safetensors"
    content = bytearray(path.read_bytes())
    if damage == "flip":
        content[-20] ^= 4
    path.write_bytes({
        "flip": content, "truncate": content[: len(content) * 2 // 3], "empty": b"", "garbage": b"\x80\x04" * 400,
        "foreign": b"",
    }[damage])  # fmt: skip
    if damage == "foreign":  # a file of the same run under another name has the same key, but another run's has not
        other = dataclasses.replace(config, fraction=0.31, levels=2)
        imp.run(net, ds, other, checkpoint=tmp_path / "other")
        path.write_bytes((inside(tmp_path / "other") / path.name).read_bytes())
    with pytest.warns(UserWarning, match=rf"{name}\.safetensors cannot be used .*computed again"):
        same(imp.run(net, ds, config, checkpoint=tmp_path / "run"), small_run)
    same(imp.run(net, ds, config, checkpoint=tmp_path / "run"), small_run)  # whole again: no further warning


def test_what_a_killed_process_left_goes_with_the_next_start(ds, net, config, finished, tmp_path):
    """Also of a level that it had finished, and would have tidied up next."""
    own = restore(finished, tmp_path)
    for name in (".level_01.safetensors.x.part", "level_00/a1/training.safetensors", "level_03/a1/.x.y.part"):
        (own / name).parent.mkdir(parents=True, exist_ok=True)
        (own / name).write_bytes(b"half")
    imp.run(ds=ds, net=net, config=config, checkpoint=tmp_path)
    assert {path.relative_to(tmp_path) for path in own.rglob("*")} == set(finished)


@pytest.mark.parametrize("steps", [17, 75])
def test_a_damaged_file_within_a_level(ds, net, config, small_run, tmp_path, monkeypatch, steps):
    with monkeypatch.context() as patch, pytest.raises(Stopped):
        stop_after(patch, steps)
        imp.run(net, ds, config, checkpoint=tmp_path)
    (path,) = tmp_path.glob("*/*/*/training.safetensors")
    assert path.parent.parent.name == f"level_{steps // 30:02d}"
    path.write_bytes(path.read_bytes()[:-3])
    with pytest.warns(UserWarning, match=rf"{path.name} cannot be used"):
        same(imp.run(net, ds, config, checkpoint=tmp_path), small_run)
    assert not list(tmp_path.glob("**/training.*"))


def test_a_rewind_point_lost_while_level_0_was_interrupted(ds, net, config, small_run, tmp_path, monkeypatch):
    with monkeypatch.context() as patch, pytest.raises(Stopped):
        stop_after(patch, 20)
        imp.run(net, ds, config, checkpoint=tmp_path)
    (inside(tmp_path) / "rewind_5.safetensors").unlink()
    same(imp.run(net, ds, config, checkpoint=tmp_path), small_run)


def test_one_more_level_trains_one_level(ds, net, config, small_run, tmp_path, monkeypatch):
    imp.run(net, ds, dataclasses.replace(config, levels=2), checkpoint=tmp_path)
    files = {path: path.stat().st_mtime_ns for path in inside(tmp_path).glob("*.safetensors")}
    with monkeypatch.context() as patch:
        trained = stop_after(patch, 1000)
        same(imp.run(net, ds, config, checkpoint=tmp_path), small_run)
    assert sorted(set(trained)) == list(range(30)) and len(trained) <= 30  # one stack's steps of one level
    assert all(path.stat().st_mtime_ns == before for path, before in files.items()), "nothing finished is written again"


def test_levels_come_one_by_one(ds, net, config, small_run, tmp_path):
    seen = []
    for run in imp.levels(net, ds, config, checkpoint=tmp_path):
        seen.append(len(run))
        assert len(list(inside(tmp_path).glob("level_*.safetensors"))) == len(run)
    assert seen == [1, 2, 3, 4]
    same(run, small_run)


def test_load_reads_a_finished_run_and_trains_nothing(ds, net, config, small_run, tmp_path, monkeypatch):
    assert imp.load(net, ds, config, tmp_path / "none") is None and not (tmp_path / "none").exists()
    imp.run(net, ds, config, checkpoint=tmp_path)
    stop_after(monkeypatch, 0)
    same(imp.load(net, ds, config, tmp_path), small_run)
    same(
        imp.load(net, ds, dataclasses.replace(config, levels=2), tmp_path),
        imp.Run(config, small_run.rewind, small_run.levels[:3]),
    )
    assert imp.load(net, ds, dataclasses.replace(config, levels=4), tmp_path) is None


def test_a_run_read_from_files_goes_on_as_the_one_that_was_trained(ds, config, tmp_path):
    """Masks keep the order of the network's layers, whose names here sort otherwise, so random draws are the same."""

    def make():
        narrow = [layer for _ in range(5) for layer in (nn.Linear(6, 6), nn.ReLU())]
        return nn.Sequential(nn.Linear(12, 6), nn.ReLU(), *narrow, nn.Linear(6, 3))

    net, config = networks.wrap(make, "cpu"), dataclasses.replace(config, levels=1, rewind_step=5)
    trained = imp.run(net, ds, config, checkpoint=tmp_path)
    read = imp.run(net, ds, config, checkpoint=tmp_path)
    same(read, trained)
    for draw in (lambda run: pruning.random(run[0].state, run[1].mask, 0.3), lambda run: pruning.shuffle(run[1].mask)):
        one, two = draw(trained), draw(read)
        assert all(torch.equal(one[name], two[name]) for name in net.prunable)


def test_nothing_is_pickled(ds, net, config, tmp_path, monkeypatch, finished):
    def refuse(*_, **__):
        raise AssertionError("a pickle")

    for owner, name in ((pickle, "load"), (pickle, "loads"), (pickle, "dump"), (torch, "load"), (torch, "save")):
        monkeypatch.setattr(owner, name, refuse)
    own = restore(finished, tmp_path)
    (own / "level_02.safetensors").unlink()
    imp.run(net, ds, config, checkpoint=tmp_path)
    for path in own.glob("*.safetensors"):
        with safe_open(path, "pt") as file:
            assert file.keys()


# Things that go wrong


def test_an_emptied_layer_ends_the_run_and_keeps_what_is_done(ds, net, config, tmp_path):
    config = dataclasses.replace(config, fraction=0.9, levels=3)
    with pytest.raises(ValueError, match=r"fraction is 0.9, .* empties layer '[\w.]+' of replicate \d") as caught:
        imp.run(net, ds, config, checkpoint=tmp_path)
    run = caught.value.run
    assert 1 <= len(run) < 4
    same(run, imp.run(net, ds, dataclasses.replace(config, levels=len(run) - 1)))
    with pytest.raises(ValueError, match="empties layer") as again:
        imp.run(net, ds, config, checkpoint=tmp_path)
    same(again.value.run, run)


@pytest.fixture
def plain(ds):
    return networks.build("cnn1d_plain", ds, width=4)


def corrupt(monkeypatch, call, replicate, value):
    """Multiply the weights that one replicate starts from in the n-th training by ``value``."""
    original, calls = training.trajectory, []

    def corrupted(net, state, *arguments):
        if len(calls) == call:
            state = {name: tensor.clone() for name, tensor in state.items()}
            for name in net.prunable:
                state[name][replicate] *= value
        calls.append(call)
        yield from original(net, state, *arguments)

    monkeypatch.setattr(training, "trajectory", corrupted)


@pytest.mark.parametrize("value", [math.nan, 1e4])
def test_a_level_that_diverges_names_step_replicate_and_level(ds, plain, config, tmp_path, monkeypatch, value):
    sound = imp.run(plain, ds, config)
    with monkeypatch.context() as patch, pytest.raises(training.Diverged) as caught:
        corrupt(patch, call=2, replicate=3, value=value)
        imp.run(plain, ds, config, checkpoint=tmp_path)
    (replicate, step), run = *caught.value.steps.items(), caught.value.run
    assert replicate == 3 and (step == 5 if value != value else 5 < step < 30)
    where = f"in level 2: replicate 3 (rewind step 5, seed 4) at step {step}."
    assert where in str(caught.value) and "Lower lr" in str(caught.value)
    assert len(run) == 3 and run[2].error[3].isnan()
    others = [0, 1, 2, 4, 5]
    for level in range(3):
        assert_close(select(run[level].state, others), select(sound[level].state, others), rtol=1e-4, atol=1e-5)
        assert torch.equal(run[level].error[others], sound[level].error[others])
    assert torch.equal(run[2].mask["linear.weight"], sound[2].mask["linear.weight"])
    with monkeypatch.context() as patch, pytest.raises(training.Diverged) as again:  # it is known; nothing is trained
        stop_after(patch, 0)
        imp.run(plain, ds, config, checkpoint=tmp_path)
    assert again.value.steps == caught.value.steps and str(again.value) == str(caught.value)
    for one, two in zip(again.value.run.levels, run.levels, strict=True):
        for read, kept in ((one.state, two.state), (one.mask, two.mask)):
            assert all(torch.equal(read[name][others], kept[name][others]) for name in kept)
        assert_close(one.error, two.error, rtol=0, atol=0, equal_nan=True)


def test_dense_training_that_diverges(ds, plain, config, monkeypatch, tmp_path):
    """At level 0 every rewind step shares the training, so the replicate is lost in every group."""
    sound = imp.run(plain, ds, config)
    with monkeypatch.context() as patch, pytest.raises(training.Diverged, match="in level 0: ") as caught:
        corrupt(patch, call=0, replicate=1, value=math.inf)
        imp.run(plain, ds, config, checkpoint=tmp_path)
    assert caught.value.steps == {1: 0, 3: 0, 5: 0}
    run = caught.value.run
    assert len(run) == 1 and run[0].error.isnan().tolist() == [False, True] * 3
    for state, other in ((run[0].state, sound[0].state), (run.rewind, sound.rewind)):
        assert_close(select(state, [0, 2, 4]), select(other, [0, 2, 4]), rtol=1e-4, atol=1e-5)


def test_divergence_is_remembered_through_an_interruption(ds, plain, config, monkeypatch, tmp_path):
    """Interrupted after the loss became NaN and before the level ended, the run still says at which step it did."""
    with monkeypatch.context() as patch, pytest.raises(Stopped):
        corrupt(patch, call=1, replicate=2, value=1e4)
        stop_after(patch, 30 + 25)
        imp.run(plain, ds, config, checkpoint=tmp_path)
    with monkeypatch.context() as patch, pytest.raises(training.Diverged, match="in level 1: replicate 2 ") as caught:
        corrupt(patch, call=0, replicate=2, value=1e4)  # level 0 is read, not trained
        trained = stop_after(patch, 1000)
        imp.run(plain, ds, config, checkpoint=tmp_path)
    assert caught.value.steps[2] < 20 <= trained[0]
