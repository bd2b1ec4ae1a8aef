"""Every experiment of the book in the smoke preset, on a smaller test set; identities between them."""

import dataclasses
import functools
import re
import types
from itertools import pairwise
from operator import attrgetter
from pathlib import Path

import numpy as np
import pytest
import torch
import twins

import lotterylib
from lotterybook import __main__ as command
from lotterybook import claims, editor, experiment, presets, records, verdicts
from lotterybook.barriers import figures as barriers_figures
from lotterybook.barriers import findings as barriers_findings
from lotterybook.barriers import maps, others, readings
from lotterybook.barriers.experiments import projections
from lotterybook.claims import EXPERIMENTS  # those of all rooms
from lotterybook.experiment import recorded
from lotterybook.limits import figures as limits_figures
from lotterybook.limits import findings as limits_findings
from lotterybook.limits.adaptive import Adaptive
from lotterybook.presets import PRESETS
from lotterybook.retraining import figures as retraining_figures
from lotterybook.retraining import findings as retraining_findings
from lotterybook.robustness import figures as robustness_figures
from lotterybook.robustness import findings as robustness_findings
from lotterybook.scale.experiments import NEEDED
from lotterybook.tickets import figures as tickets_figures
from lotterybook.tickets import findings as tickets_findings
from lotterylib import curvature, data, imp, landscape, networks, perturbation, pruning, sgd, store, training
from lotterylib.states import select

SMALL = 600  # test examples
ONE = 1.5 / SMALL  # one example more or less: states interpolated from either end differ in their last bits

# What each docstring says of the smoke preset: three rewind steps, two replicates, levels 0 to 3.
LEVELS, K, R, N, POINTS = 3, 3, 2, 2, 3
AXES = {"density": (LEVELS + 1,), "rewind_step": (K,)}
CONTROLS = ("random_mask", "shuffled_mask", "reinitialized", "one_shot", "learning_rate_rewinding")
SHAPES = {
    "winning_tickets": {"error": (LEVELS + 1, K, R), **AXES},
    "controls": {**dict.fromkeys(CONTROLS, (N, R)), "level": (N,), "density": (N,), "rewind_step": ()},
    "fresh_starts": {"error": (N, R), "level": (N,), "density": (N,), "rewind_step": ()},
    "instability": {"height": (2, R), "curve": (POINTS, 2, R), "rewind_step": (2,)},
    "contrast": {
        "error": (3, 2, R), "barrier": (2, 2, R), "instability": (2, R), "density": (3,), "rewind_step": (2,),
    },
    "successive_barriers": {
        "height": (LEVELS, K, R), "curve": (LEVELS, POINTS, K, R), "recalibrated": (LEVELS, K, R), **AXES,
    },
    "all_pairs": {"height": (LEVELS + 1, LEVELS + 1, K, R), **AXES},
    "recalibrated_pairs": {
        "height": (LEVELS + 1, LEVELS + 1, 2, 1), "density": (LEVELS + 1,), "rewind_step": (2,),
    },
    "found_masks": {
        "error": (3, R), "density": (3,), "step": (2, R), "away": (2, R), "level": (2,), "rewind_step": (2,),
        **dict.fromkeys(("return_error", "return_barrier", "overlap"), (2, 2, R)),
    },
    "architectures": {
        "error": (2, 3, 2, R), "barrier": (2, 2, 2, R), "density": (2, 3), "rewind_step": (2, 2), "weights": (2,),
    },
    "other_instabilities": {"height": (2, 2, R), "rewind_step": (2, 2)},
    "projections": {"error": (LEVELS, K, R), "height": (LEVELS, K, R), **AXES},
    "failing_masks": {
        **{name + end: (N, R) for name in ("own", "failing", "random") for end in ("", "_error")},
        "level": (N,), "density": (N,),
    },
    "plane": {
        "error": (3, 3, K), "horizontal": (3, K), "vertical": (3, K), "corners": (3, 2, K), "level": (), **AXES,
    },
    "robustness": {
        **dict.fromkeys(("random", "random_error"), (3, 3, 2, 1)),  # two of the rewind steps
        **dict.fromkeys(("pruning", "pruning_error"), (3, 2, 2, 1)),
        **dict.fromkeys(("order", "order_error", "distance", "norm"), (3, 2, 1)),
        **dict.fromkeys(("unit", "unit_error"), (1, 2, 1)), "unit_level": (1,),
        "level": (3,), "scale": (3,), "pruning_scale": (2,), "density": (3,), "rewind_step": (2,),
    },
    "blows": {
        **dict.fromkeys(("masked", "masked_recalibrated", "norm"), (LEVELS + 1, K, R)), "distance": (LEVELS, K, R),
        **dict.fromkeys(("perturbed", "perturbed_recalibrated"), (3, K, R)), "level": (3,), **AXES,
    },
    "forgiveness": {"barrier": (2, 3, 1), "error": (2, 3, 1), "step": (2,), "scale": (3,), "level": ()},
    "return_path": {
        "distance": (12, 2, 1), "cosine": (12, 2, 1), "travelled": (12, 1), "step": (12,), "scale": (2,), "level": (),
    },
    "return_plane": {
        "error": (2, 3, 3), "horizontal": (2, 3), "vertical": (2, 3), "track": (2, 2, 12, 2), "step": (12,),
        "scale": (2,), "level": (),
    },
    "refilling": {
        **dict.fromkeys(("refilled", "already", "removed", "removed_without"), (LEVELS - 1, K, R)),
        **dict.fromkeys(("signs", "magnitudes", "start_signs", "start_magnitudes"), (LEVELS - 1, K, R)),
        "fraction": (), **AXES,
    },
    "histograms": {"all": (LEVELS, 3, R, 37), "layer": (10, LEVELS, 3, 37), "edges": (38,), "density": (LEVELS + 1,)},
    "without_retraining": {
        **dict.fromkeys(("none", "short", "kept", "rewound"), (LEVELS + 1, R)),
        **dict.fromkeys((f"{arm}_barrier" for arm in ("short", "kept", "rewound")), (LEVELS, R)),
        **dict.fromkeys((f"{arm}_new_small" for arm in ("short", "kept", "rewound")), (LEVELS - 1, R)),
        "fine": (2, LEVELS + 1, R), "fine_barrier": (2, LEVELS, R), "fine_new_small": (2, LEVELS - 1, R),
        "fine_rate": (2,), "density": (LEVELS + 1,),
    },
    "cycles": {"error": (4, 1), "level": (4,), "cycle": (4,), "density": (4,)},
    "spectra": {
        **dict.fromkeys(("largest", "norm"), (2, K, 1)), **dict.fromkeys(("removed", "along"), (2, 2, K, 1)),
        **dict.fromkeys(("predicted", "predicted_absolute"), (2, 6, 2, K, 1)),
        **dict.fromkeys(("negative", "batch_noise"), (2, K, 1)), "above": (2, 56, K, 1), "grid": (56,),
        "epsilon": (6,), "level": (2,), "fraction": (), "density": (2,), "rewind_step": (K,),
    },
    "projected": {
        "loss": (2, 2, 14, K, 1), "error": (2, 2, 14, K, 1), "fraction": (14,), "level": (2,), "rewind_step": (K,),
    },
    "descents": {
        **dict.fromkeys(("solution", "control_loss", "control_barrier"), (2, K, 1)), "loss": (2, 2, 2, K, 1),
        "barrier": (2, 2, 2, K, 1), "fraction": (2,), "level": (2,), "rewind_step": (K,),
    },
    "convergence": {
        "loss": (2, 2, 2, 2, 1), "control": (2, 2, 1), "solution": (2, 1),
        "fraction": (2,), "level": (2,), "steps": (2,),
    },
    "exact": {
        **dict.fromkeys(("predicted", "predicted_absolute", "model"), (1, 1, 6, 2)), "above": (1, 1, 56),
        "largest": (1, 1), "lowest": (1, 1, 2, 13), "through_zero": (1, 1, 6),
        "grid": (56,), "epsilon": (6,), "fraction": (13,), "level": (1,),
    },
    "overlap": {
        "kept": (1, 2, 4, 1, 1), "eigenvalue": (1, 1, 1), "fraction": (4,), "level": (1,), "density": (1,),
    },
    "during_training": {
        **dict.fromkeys(("predicted", "predicted_absolute"), (2, 6, 2, 1)), "loss": (2, 2, 14, 1), "largest": (2, 1),
        "removed": (2, 2, 1), "step": (2,), "epsilon": (6,), "fraction": (14,),
    },
    "adaptive": {"error": (1, 3, 1), "density": (1, 3), "rise": (1,)},
    "scores": {
        **dict.fromkeys(("score", "mislabelled"), (3, 4000)), **dict.fromkeys(("other", "spread"), (4000,)),
        **dict.fromkeys(("single", "auc_single", "precision_single"), (3, 4)), "halves": (3, 10), "between": (3, 3),
        **dict.fromkeys(("auc", "precision", "step"), (3,)), "classes": (2, 10), "wrong": (200,), "score_step": (),
    },
    "early_data": {
        "error": (4, 3, R), "barrier": (4, 2, R), "all_error": (2, 3, R), "all_barrier": (2, 2, R), "all_step": (2,),
        **dict.fromkeys(("rewind_step", "order", "share", "examples"), (4,)), "density": (3,),
    },
    "pruned_data": {"error": (2, 3, 1, R), "full": (2, R), "examples": (2, 1), "size": (2,), "share": (1,)},
    "both": {
        "error": (2, 1, 2, R), "barrier": (2, 1, 1, R), "all_error": (2, R), "all_barrier": (1, R), "order": (2,),
        "share": (1,), "examples": (1,), "density": (2,),
    },
    "landscape_of_data": {
        **dict.fromkeys(("largest", "loss"), (2, 1, 1, R)), "predicted": (2, 1, 2, 1, R), "order": (2,), "share": (1,),
        **dict.fromkeys(("all_largest", "all_loss"), (1, R)), "all_predicted": (2, 1, R),
        "level": (1,), "density": (1,),
    },
}  # fmt: skip
LACKING = dict.fromkeys(("architectures", "other_instabilities"), torch.isnan)  # what is not there, by the docstring
USE_THE_RUN = set(SHAPES) - {
    "instability",
    "contrast",
    "architectures",
    "other_instabilities",
    "during_training",
    "adaptive",
    "scores",
    "pruned_data",
}  # that of the main network
NOT_IN_0_1 = {
    "level", "rewind_step", "horizontal", "vertical", "corners", "step", "scale", "distance", "norm", "travelled",
    "cosine", "track", "magnitudes", "start_magnitudes", "edges", "above", "largest", "removed", "along",
    "grid", "loss", "lowest", "solution", "weights", "cycle", "unit_level", "pruning_scale", "control", "control_loss",
    "batch_noise", "eigenvalue", "steps",
    "score", "mislabelled", "other", "spread", "single", "halves", "between", "classes", "wrong", "score_step",
    "all_step", "order", "examples", "size", "all_largest", "all_loss",
}  # fmt: skip


@pytest.fixture(scope="module")
def smoke(mnist1d, smoke_folder, tmp_path_factory):
    """Folders and dataset of their own for the smoke preset; gives every record by name, and notes the trainings."""
    ds = dataclasses.replace(mnist1d, test_x=mnist1d.test_x[:SMALL], test_y=mnist1d.test_y[:SMALL])
    used = any(smoke_folder.iterdir())  # where another module came first, nothing would be trained here
    folder = tmp_path_factory.mktemp("smoke") if used else smoke_folder
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("LOTTERYLIB_RUNS", str(folder / "runs"))
        patch.setattr(records, "PUBLISHED", folder / "records")
        patch.setattr(data, "load", lambda name, device="auto": {"mnist1d": ds}[name])
        experiment._setup.cache_clear()
        smoke = Smoke()
        patch.setattr(experiment.Setup, "train", smoke.noting(experiment.Setup.train))
        yield smoke
    experiment._setup.cache_clear()


class Watched:
    """A preset, or one of its groups of settings, that notes which settings are read."""

    def __init__(self, part, read=None, group=""):
        self._part, self._read, self._group = part, set() if read is None else read, group

    def __getattr__(self, field):
        value = getattr(self._part, field)
        if dataclasses.is_dataclass(value) and not isinstance(value, presets.Arm) and not self._group:
            return Watched(value, self._read, f"{field}.")
        self._read.add(self._group + field)
        return value


class Smoke:
    def __init__(self):
        self.trainings, self.read = {}, {}

    def noting(self, train):
        def noted(setup, name, state, mask=None, start=0, order_seed=1, arm="main", recipe=None):
            self.trainings[name] = {
                "state": state, "mask": mask, "start": start, "seeds": order_seed, "recipe": recipe,
            }  # fmt: skip
            return train(setup, name, state, mask, start, order_seed, arm, recipe)

        return noted

    @functools.cache  # noqa: B019
    def __getitem__(self, name):
        experiment._setup.cache_clear()  # as in a process of its own, which reads from disk what others made
        preset = self.setup.preset = Watched(self.setup.preset)
        record = recorded(name, "smoke", device="cpu")
        self.read[name] = preset._read
        experiment._setup.cache_clear()
        return record

    @property
    def setup(self):
        return experiment.setup("smoke", device="cpu")  # arguments as an experiment gives them, for the same one

    @property
    def run(self):
        return self.setup.run()


@pytest.mark.parametrize("name", EXPERIMENTS)
def test_every_experiment_runs_and_gives_what_it_says(smoke, name):
    assert name in SHAPES, f"add the shapes of {name!r} in the smoke preset to SHAPES, from its docstring"
    record = smoke[name]
    assert {key: tuple(value.shape) for key, value in record.items()} == SHAPES[name]
    for key, value in record.items():
        value = value[~LACKING[name](value)] if name in LACKING and value.is_floating_point() else value
        assert value.isfinite().all(), key
        if key not in NOT_IN_0_1:
            assert value.dtype == torch.float64 and ((value >= 0) & (value <= 1)).all(), key
    assert record.about["experiment"] == name and record.about["preset"] == "smoke"
    assert record.about["data"] == smoke.setup.ds.digest
    needs = EXPERIMENTS[name][1]
    assert smoke.read[name] & {"main", "contrast", "barriers.networks"}, "the test's own premise: reading is noticed"
    assert smoke.read[name] <= set(needs), "a field that is read and not named leaves a stale record when it changes"
    given = {need for need in needs if attrgetter(need)(PRESETS["smoke"]) is not None}  # the key leaves out the others
    assert set(record.about["settings"]) == given
    assert record.path.is_relative_to(records.work_folder("smoke")) and record.path.is_file()
    assert all(made_by == records.VERSION for made_by in record.about["runs"].values())
    assert ("imp_main" in record.about["runs"]) == (name in USE_THE_RUN)


def plain_error(smoke, state, replicate):
    ds = smoke.setup.ds
    return twins.error(twins.module(smoke.setup.net(), state, replicate), ds.test_x, ds.test_y)


def height(curve):
    """Definition of the barrier, over the first axis."""
    curve = np.asarray(curve)
    return (curve - np.linspace(curve[0], curve[-1], len(curve))).max(0)


def test_winning_tickets_are_the_errors_of_the_levels(smoke):
    record, run = smoke["winning_tickets"], smoke.run
    assert record["rewind_step"].tolist() == [0, 10, 20]
    kept = [1400, 1120, 896, 716]  # a fifth fewer each time, rounded up
    assert record["density"].tolist() == pytest.approx([n / 1400 for n in kept])
    for level, group, replicate in ((0, 0, 0), (1, 2, 1), (3, 1, 0)):
        expected = plain_error(smoke, run[level].state, 2 * group + replicate)
        assert float(record["error"][level, group, replicate]) == pytest.approx(expected, abs=ONE)
    assert record["error"].min() < 0.8, "the test's own premise: something is learnt"


def counts(mask):
    return {name: keep.flatten(1).sum(1).tolist() for name, keep in mask.items()}


def test_controls_are_trained_as_they_are_called(smoke):
    """What is trained, from where, inside which mask, on which data order: everything but the named thing as in IMP."""
    record, run = smoke["controls"], smoke.run.at(10)
    assert record["level"].tolist() == [1, 3] and record["rewind_step"] == 10
    assert torch.equal(record["density"], smoke["winning_tickets"]["density"][[1, 3]])
    own = {n: torch.cat([run[1].mask[n], run[3].mask[n]]) for n in run[0].mask}
    trained = {name: smoke.trainings[name] for name in CONTROLS[:3]}
    for name, training_ in trained.items():
        assert training_["seeds"] == [0, 1, 0, 1]
        assert training_["start"] == (0 if name == "reinitialized" else 10)
        for entry, rewound in run.rewind.items():
            same = torch.equal(training_["state"][entry], torch.cat([rewound, rewound]))
            assert same == (name != "reinitialized") or not entry.endswith(".weight")
    assert counts(trained["shuffled_mask"]["mask"]) == counts(own) == counts(trained["reinitialized"]["mask"])
    total = [sum(layer[r] for layer in counts(own).values()) for r in range(4)]
    random = counts(trained["random_mask"]["mask"])
    assert [sum(layer[r] for layer in random.values()) for r in range(4)] == total and random != counts(own)
    for name in own:
        assert torch.equal(trained["reinitialized"]["mask"][name], own[name])
        assert not torch.equal(trained["shuffled_mask"]["mask"][name], own[name])
        masks = trained["random_mask"]["mask"][name]
        assert not torch.equal(masks[0], masks[1]) and not (masks[2] & ~masks[0]).any()  # drawn apart, pruned on
    fresh = trained["reinitialized"]["state"]["linear.weight"]
    assert not any(torch.equal(fresh[0], one) for one in (fresh[1], *run.rewind["linear.weight"]))


def test_one_shot_and_learning_rate_rewinding_are_runs_of_their_own(smoke):
    record = smoke["controls"]
    options = {"one_shot": {"pruning": "one_shot"}, "learning_rate_rewinding": {"rewinding": "learning_rate"}}
    for name, option in options.items():
        run = smoke.setup.run(rewind_step=10, **option)
        assert dataclasses.replace(smoke.setup.preset.main.config, rewind_step=10, **option) == run.config
        for column, level in enumerate((1, 3)):
            expected = [plain_error(smoke, run[level].state, r) for r in range(2)]
            assert record[name][column].tolist() == pytest.approx(expected, abs=ONE)


def trained(smoke, recipe, model, seed, **options):
    """A plain module, trained in place; its test error."""
    ds = smoke.setup.ds
    twins.sgd(model, ds, recipe, seed, **options)
    return twins.error(model, ds.test_x, ds.test_y)


def test_fresh_starts_train_densely_to_the_rewind_point_and_then_in_imps_mask(smoke):
    """Written out for one replicate of one level: other initial weights, the same data order, IMP's own mask."""
    record, run, setup = smoke["fresh_starts"], smoke.run.at(10), smoke.setup
    assert record["level"].tolist() == [1, 3] and record["rewind_step"] == 10
    assert torch.equal(record["density"], smoke["controls"]["density"])
    recipe, seed = setup.preset.main.config.recipe, 1
    torch.manual_seed(experiment.OTHER + seed)
    model = setup.net().make()
    twins.sgd(model, setup.ds, recipe, seed, stop=10)
    noted = smoke.trainings["fresh_start"]
    assert noted["start"] == 10 and noted["seeds"] == [0, 1, 0, 1]
    for name, tensor in model.state_dict().items():
        for row in (1, 3):
            assert torch.allclose(noted["state"][name][row], tensor.to(noted["state"][name]), rtol=1e-3, atol=1e-4)
    mask = {name: keep[seed] for name, keep in run[3].mask.items()}
    assert float(record["error"][1, seed]) == pytest.approx(
        trained(smoke, recipe, model, seed, mask=mask, start=10), abs=8 * ONE
    )
    assert not torch.equal(record["error"], smoke["controls"]["reinitialized"]), "other than the control from step 0"


@pytest.mark.parametrize(("name", "arm"), [("instability", "main"), ("contrast", "contrast")])
def test_instability_compares_two_orders_from_the_same_point(smoke, name, arm):
    record, steps = smoke[name], (0, 20)
    one, two = (smoke.trainings[f"instability_{arm}_{shift}"] for shift in (0, experiment.OTHER))
    assert one["start"] == two["start"] == [steps[0]] * 2 + [steps[1]] * 2
    assert one["mask"] is None and two["mask"] is None
    assert all(torch.equal(one["state"][entry], two["state"][entry]) for entry in one["state"])
    assert one["seeds"] == [0, 1, 0, 1] and not set(one["seeds"]) & set(two["seeds"]) and len(set(two["seeds"])) == 2
    rewound = smoke.setup.run(arm).rewind  # the same w_k that IMP rewinds to, at steps that it has too
    group = list(record["rewind_step"].tolist())
    assert group == [0, 20]
    for column, k in enumerate(group):
        i = smoke.setup.run(arm).rewind_steps.index(k)
        for entry in rewound:
            assert torch.allclose(one["state"][entry][2 * column], rewound[entry][i], rtol=1e-4, atol=1e-5)
    if name == "instability":
        assert np.allclose(record["height"], height(record["curve"]), atol=1e-12)


def test_contrast_is_the_network_without_batchnorm(smoke):
    record, setup = smoke["contrast"], smoke.setup
    net = setup.net("contrast")
    assert not any("norm" in name for name in net.parameters)
    run, ds = setup.run("contrast"), setup.ds
    for level, column in ((0, 0), (2, 3)):
        expected = twins.error(twins.module(net, run[level].state, column), ds.test_x, ds.test_y)
        assert float(record["error"].flatten(1)[level, column]) == pytest.approx(expected, abs=ONE)
    single = landscape.error_barrier(net, run[1].state, run[2].state, ds.test_x, ds.test_y, POINTS)
    assert np.allclose(record["barrier"][1].flatten(), single.height, atol=ONE)


def test_successive_barriers_lie_between_successive_levels(smoke):
    record, error = smoke["successive_barriers"], smoke["winning_tickets"]["error"]
    for level in range(LEVELS):
        curve = record["curve"][level]  # (points, K, R), gamma = 1 at L
        assert np.allclose(curve[-1], error[level], atol=ONE) and np.allclose(curve[0], error[level + 1], atol=ONE)
        assert np.allclose(record["height"][level], height(curve), atol=1e-12)
    assert record["height"].max() > 0, "the test's own premise: some levels are not connected"


def test_recalibrated_barriers_measure_the_statistics_anew(smoke):
    record, run, ds, net = smoke["successive_barriers"], smoke.run, smoke.setup.ds, smoke.setup.net()
    before, after = run[1].state, run[2].state
    for column in (0, 3):
        curve = []
        for gamma in (0, 0.5, 1):
            between = {n: gamma * before[n] + (1 - gamma) * after[n] for n in net.parameters}
            model = twins.module(net, {**before, **between}, column)
            model.load_state_dict({**model.state_dict(), **twins.recalibrated(model, ds, 500)})
            curve.append(twins.error(model, ds.test_x, ds.test_y))
        assert float(record["recalibrated"][1].flatten()[column]) == pytest.approx(height(curve), abs=2 * ONE)


def test_all_pairs_hold_the_successive_barriers(smoke):
    pairs = smoke["all_pairs"]["height"]
    assert torch.equal(pairs, pairs.transpose(0, 1)) and not pairs.diagonal().any()
    successive = smoke["successive_barriers"]["height"]  # on the same grid in this preset
    for level in range(LEVELS):
        assert np.allclose(pairs[level, level + 1], successive[level], atol=2 * ONE)
    single = smoke.setup.barrier(smoke.run[0].state, smoke.run[3].state).height
    assert np.allclose(pairs[0, 3].flatten(), single, atol=2 * ONE)


def test_recalibrated_pairs_measure_the_statistics_all_along_the_line(smoke):
    """Those of all pairs on the same grid, for the first replicates; and their ends are recalibrated too."""
    record, successive = smoke["recalibrated_pairs"], smoke["successive_barriers"]["recalibrated"]
    heights = record["height"]
    assert record["rewind_step"].tolist() == [0, 20] and torch.equal(record["density"], smoke.run.densities)
    assert torch.equal(heights, heights.transpose(0, 1)) and not heights.diagonal().any()
    for level in range(LEVELS):
        assert np.allclose(heights[level, level + 1], successive[level][[0, 2], :1], atol=2 * ONE)
    run, ds, net, curve = smoke.run, smoke.setup.ds, smoke.setup.net(), []
    for gamma in (0, 0.5, 1):
        between = {n: gamma * run[0].state[n] + (1 - gamma) * run[3].state[n] for n in net.parameters}
        model = twins.module(net, {**run[0].state, **between}, 4)  # rewind step 20, first replicate
        model.load_state_dict({**model.state_dict(), **twins.recalibrated(model, ds, 500)})
        curve.append(twins.error(model, ds.test_x, ds.test_y))
    assert float(heights[0, 3, 1, 0]) == pytest.approx(height(curve), abs=2 * ONE)
    assert heights.max() > 0, "the test's own premise: some levels are not connected"


def test_a_barrier_with_known_ends_is_the_barrier():
    """On five places of a line; NaN stays NaN, and a curve that sags has none."""
    a, b = {"w": torch.tensor([0.0, 0.0, 0.0])}, {"w": torch.tensor([1.0, 1.0, torch.nan])}

    def error(state):
        w = state["w"].double()
        return torch.stack([w[0] ** 2 * (1.5 - w[0]), (w[1] - 0.5) ** 2, w[2]])

    found = landscape.barrier(error, a, b, 5, ends=(error(a), error(b))).height
    whole = landscape.barrier(error, a, b, 5).height
    assert np.allclose(found[:2], whole[:2]) and found[0] > 0 and found[1] == 0 and found[2].isnan()
    assert landscape.barrier(error, a, b, 2, ends=(error(a), error(b))).height[0] == 0  # nothing between the ends


def test_found_masks_are_walked_to_and_put_on_rewind_points(smoke):
    """The walk written out for one replicate: magnitude by brute force, a plain optimizer, nothing rewound."""
    record, run, setup = smoke["found_masks"], smoke.run, smoke.setup
    net, ds, r, plan = setup.net(), setup.ds, 1, presets.PRESETS["smoke"].barriers.walk
    model = twins.module(net, run[0].state, r)
    recipe = dataclasses.replace(setup.preset.main.config.recipe, steps=10, lr=0.05)
    mask, dense = {name: keep[r] for name, keep in run[0].mask.items()}, dict(model.state_dict())
    walked, masks = [{name: tensor.clone() for name, tensor in dense.items()}], [mask]
    for level in (1, 2):
        mask = twins.prune(walked[-1], mask, 0.2)
        error = trained(smoke, recipe, model, r, mask=mask)
        assert float(record["error"][level, r]) == pytest.approx(error, abs=6 * ONE)
        walked.append({name: tensor.clone() for name, tensor in model.state_dict().items()})
        masks.append(mask)
    kept = [sum(int(keep.sum()) for keep in one.values()) for one in masks]
    assert record["density"].tolist() == pytest.approx([n / kept[0] for n in kept])

    def barrier(one, other):
        curve = []
        for gamma in np.linspace(0, 1, POINTS):
            model.load_state_dict(
                {n: one[n].lerp(other[n], gamma) if one[n].is_floating_point() else one[n] for n in one}
            )
            curve.append(twins.error(model, ds.test_x, ds.test_y))
        return height(curve)

    assert float(record["step"][1, r]) == pytest.approx(barrier(walked[1], walked[2]), abs=8 * ONE)
    assert float(record["away"][1, r]) == pytest.approx(barrier(walked[0], walked[2]), abs=8 * ONE)
    noted = smoke.trainings["found_mask"]  # levels 1 and 2, each on rewind points 0 and 10, two replicates each
    assert noted["start"] == [0, 0, 10, 10] * 2 and noted["seeds"] == [0, 1] * 4
    assert plan.return_levels == (1, 2) and plan.return_steps == (0, 10)
    for row, (level, step) in enumerate([(1, 0), (1, 10), (2, 0), (2, 10)]):
        for name, keep in masks[level].items():
            assert float((noted["mask"][name][2 * row + r] == keep).double().mean()) > 0.97
            assert torch.equal(noted["state"][name][2 * row + r], run.at(step).rewind[name][r])
            assert torch.equal(noted["mask"][name][2 * row], noted["mask"][name][4 * (row // 2)])  # one mask for all
        own, there = run.at(step)[level].mask, {n: m[2 * row + r] for n, m in noted["mask"].items()}
        both = sum(int((there[name] & own[name][r]).sum()) for name in own)
        assert float(record["overlap"][row // 2, row % 2, r]) == pytest.approx(both / kept[level])


def test_returns_from_found_masks_are_trained_as_imp_trains(smoke):
    record, setup = smoke["found_masks"], smoke.setup
    noted = smoke.trainings["found_mask"]
    state, mask = select(noted["state"], [7]), select(noted["mask"], [7])
    recipe = setup.preset.main.config.recipe
    solution = training.train(setup.net(), state, setup.ds, recipe, mask, 10, order_seed=[1])
    assert float(record["return_error"][1, 1, 1]) == pytest.approx(float(setup.error(solution)), abs=ONE)
    first = smoke.run.at(0)
    short = dataclasses.replace(recipe, steps=10, lr=0.05)
    walked, masks = select(first[0].state, [1]), select(first[0].mask, [1])
    for _ in range(2):
        masks = pruning.magnitude(walked, masks, 0.2)
        walked = training.train(setup.net(), walked, setup.ds, short, masks, order_seed=[1])
    back = setup.barrier(walked, solution).height
    assert float(record["return_barrier"][1, 1, 1]) == pytest.approx(float(back), abs=2 * ONE)


def test_architectures_are_runs_of_their_own(smoke):
    """The second has one level and one rewind step; what it lacks beside the first is said to be missing."""
    record, setup = smoke["architectures"], smoke.setup
    arms = presets.PRESETS["smoke"].barriers.networks
    assert record["rewind_step"].tolist() == [[0, 10], [10, -1]]
    for n, arm in enumerate(arms):
        net = networks.build(arm.network, setup.ds, **arm.options)
        assert int(record["weights"][n]) == sum(np.prod(net.shapes[name]) for name in net.prunable)
        run = imp.run(net, setup.ds, arm.config)
        levels, steps = len(run), len(arm.config.rewind_step)
        assert np.allclose(record["error"][n, :levels, :steps], run.errors, atol=ONE)
        assert record["density"][n, :levels].tolist() == pytest.approx(run.densities.tolist())
        single = landscape.error_barrier(net, run[0].state, run[1].state, setup.ds.test_x, setup.ds.test_y, POINTS)
        assert np.allclose(record["barrier"][n, 0, :steps].flatten(), single.height, atol=2 * ONE)
        assert record["error"][n, levels:].isnan().all() and record["error"][n, :, steps:].isnan().all()
        assert record["barrier"][n, levels - 1 :].isnan().all() and record["density"][n, levels:].isnan().all()
    assert not record["error"][0].isnan().any() and record["weights"][0] != record["weights"][1]


def test_other_instabilities_are_barriers_between_two_orders(smoke):
    """Of either network's rewind points, as its IMP run has them, trained on in both orders; by landscape itself."""
    record, ds = smoke["other_instabilities"], smoke.setup.ds
    assert record["rewind_step"].tolist() == [[0, 10], [10, -1]] and record["height"][1, 1].isnan().all()
    for n, arm in enumerate(presets.PRESETS["smoke"].barriers.networks):
        net, config = networks.build(arm.network, ds, **arm.options), arm.config
        rewind = imp.run(net, ds, dataclasses.replace(config, levels=0)).rewind
        starts = [k for k in config.rewind_step for _ in range(config.replicates)]
        orders = [config.seed + r for r in range(config.replicates)] * len(config.rewind_step)
        ends = [
            training.train(net, rewind, ds, config.recipe, None, starts, None, [shift + seed for seed in orders])
            for shift in (0, experiment.OTHER)
        ]
        expected = landscape.error_barrier(net, *ends, ds.test_x, ds.test_y, POINTS).height
        assert np.allclose(record["height"][n, : len(config.rewind_step)].flatten(), expected, atol=2 * ONE)


def test_a_run_ends_before_a_layer_is_emptied(smoke, tmp_path):
    """What was reached is there, the rest is NaN; other errors are not swallowed."""
    recipe = training.Recipe(steps=4, batch_size=64, lr=0.1)
    arm = presets.Arm("resnet1d", imp.Config(recipe, (0, 1), levels=9, replicates=1, fraction=0.6), width=4)
    found = others.successive(arm, smoke.setup.ds, tmp_path, 3)
    reached = int(found["error"][:, 0, 0].isfinite().sum())
    assert 2 <= reached < 10 and found["error"].shape == (10, 2, 1) and found["barrier"].shape == (9, 2, 1)
    assert found["barrier"][: reached - 1].isfinite().all() and found["barrier"][reached - 1 :].isnan().all()
    assert found["density"][:reached].isfinite().all() and found["density"][reached:].isnan().all()
    net = networks.build("resnet1d", smoke.setup.ds, width=4)
    with pytest.raises(ValueError, match="batch_size"):
        huge = dataclasses.replace(recipe, batch_size=10**6)
        others.as_far_as_it_goes(net, smoke.setup.ds, imp.Config(huge, 0, levels=1, replicates=1), None)


def test_a_run_ends_with_the_level_in_which_a_replicate_diverges(smoke):
    wild = training.Recipe(steps=30, batch_size=64, lr=1e6)
    arm = presets.Arm("cnn1d_plain", imp.Config(wild, 0, levels=2, replicates=1), width=4)
    net = networks.build(arm.network, smoke.setup.ds, **arm.options)
    assert len(others.as_far_as_it_goes(net, smoke.setup.ds, arm.config, None)) == 1


def test_projections_are_pruned_solutions(smoke, monkeypatch):
    record, run, lines = smoke["projections"], smoke.run, []

    def noting(error, a, b, points, ends):
        lines.append((a, b))
        assert points == POINTS and all(torch.equal(end, error(state)) for end, state in zip(ends, (a, b), strict=True))
        return landscape.Barrier(torch.full((K * R,), len(lines) / 10), None, None)

    with monkeypatch.context() as patch:
        patch.setattr(landscape, "barrier", noting)
        drawn = projections.__wrapped__(smoke.setup)
    assert drawn["height"].flatten(1).tolist() == [pytest.approx([0.1 * i] * 6) for i in (1, 2, 3)]
    for level, (before, after) in enumerate(pairwise(run.levels)):
        projection = {n: t * after.mask[n] if n in after.mask else t for n, t in before.state.items()}
        for column in (0, 5):
            expected = plain_error(smoke, projection, column)
            assert float(record["error"][level].flatten()[column]) == pytest.approx(expected, abs=ONE)
        for line, end in zip(lines[level], (projection, after.state), strict=True):
            assert all(torch.equal(line[name], end[name]) for name in end)


def test_own_masks_give_the_successive_barriers(smoke):
    record, run = smoke["failing_masks"], smoke.run
    assert record["level"].tolist() == [1, 3]
    assert torch.equal(record["density"], smoke["controls"]["density"])
    for column, level in enumerate((1, 3)):
        assert np.allclose(record["own"][column], smoke["successive_barriers"]["height"][level - 1, 1], atol=2 * ONE)
        assert np.allclose(record["own_error"][column], smoke["winning_tickets"]["error"][level, 1], atol=ONE)
    assert np.allclose(record["random_error"], smoke["controls"]["random_mask"], atol=ONE)  # one training for both
    failing = smoke.trainings["failing_mask"]
    assert failing["start"] == 10 and failing["seeds"] == [0, 1, 0, 1]
    for name, mask in failing["mask"].items():  # that of rewind step 0, from w_10
        assert torch.equal(mask, torch.cat([run.at(0)[level].mask[name] for level in (1, 3)]))
        assert torch.equal(failing["state"][name], torch.cat([run.at(10).rewind[name]] * 2))


def test_failing_barriers_lead_back_to_the_level_before(smoke):
    record, run, setup = smoke["failing_masks"], smoke.run.at(10), smoke.setup
    again = smoke.trainings["failing_mask"]
    mask, state = select(again["mask"], [2, 3]), select(again["state"], [2, 3])
    recipe = setup.preset.main.config.recipe
    solution = training.train(setup.net(), state, setup.ds, recipe, mask, 10, order_seed=[0, 1])
    assert np.allclose(setup.error(solution), record["failing_error"][1], atol=ONE)
    assert np.allclose(setup.barrier(run[2].state, solution).height, record["failing"][1], atol=2 * ONE)


def test_the_plane_goes_through_solution_projection_and_next_solution(smoke):
    record, run, net = smoke["plane"], smoke.run, smoke.setup.net()
    assert record["level"] == 1
    for group in range(K):
        column = 2 * group
        states = [run[1].state, {n: t * run[2].mask.get(n, 1) for n, t in run[1].state.items()}, run[2].state]
        flat = [np.concatenate([s[n][column].flatten() for n in net.parameters]).astype(np.float64) for s in states]
        corners = record["corners"][:, :, group].numpy()
        for i, j in ((0, 1), (0, 2), (1, 2)):
            assert np.linalg.norm(corners[i] - corners[j]) == pytest.approx(np.linalg.norm(flat[i] - flat[j]), rel=1e-5)
        for axis, name in enumerate(("horizontal", "vertical")):
            grid = record[name][:, group].numpy()
            assert grid[0] < corners[:, axis].min() and grid[-1] > corners[:, axis].max() and (np.diff(grid) > 0).all()


def flat(smoke, state, column):
    net = smoke.setup.net()
    return np.concatenate([state[name][column].flatten() for name in net.parameters]).astype(np.float64)


def test_perturbed_initializations_are_as_far_away_as_they_say(smoke):
    record, run = smoke["robustness"], smoke.run
    assert record["rewind_step"].tolist() == [0, 10]
    first = [0, 2]  # the first replicate of the first two rewind steps
    for n, level in enumerate((0, 1, 2)):
        here, after = run[level].mask, run[level + 1].mask
        start = {name: t * here.get(name, 1) for name, t in run.rewind.items()}
        pruned = {name: t * after.get(name, 1) for name, t in start.items()}
        unit = [np.linalg.norm(flat(smoke, start, c) - flat(smoke, pruned, c)) for c in first]
        assert np.allclose(record["distance"][n, :, 0], unit)
        weights = [np.linalg.norm(np.concatenate([start[name][c].flatten() for name in here])) for c in first]
        assert np.allclose(record["norm"][n, :, 0], weights)
        other = smoke.trainings[f"other_order_{level}"]
        assert other["start"] == [0, 10] and other["seeds"] == [experiment.OTHER] * 2
        for kind, scales in (("random", (1.0, 2.0, 4.0)), ("pruning", (1.0, 2.0))):
            noted = smoke.trainings[f"perturbed_{kind}_{level}"]
            assert noted["start"] == [0, 10] * len(scales) and noted["seeds"] == [0] * 2 * len(scales)
            for row, scale in enumerate(np.repeat(scales, 2)):
                column = first[row % 2]
                assert all(torch.equal(noted["mask"][name][row], here[name][column]) for name in here)
                assert not any((noted["state"][name][row] != 0)[~here[name][column]].any() for name in here)
                moved = flat(smoke, noted["state"], row) - flat(smoke, start, column)
                assert np.linalg.norm(moved) == pytest.approx(scale * unit[row % 2], rel=1e-4)
                toward = flat(smoke, pruned, column) - flat(smoke, start, column)
                cosine = moved @ toward / np.linalg.norm(moved) / np.linalg.norm(toward)
                assert cosine == pytest.approx(1, abs=1e-5) if kind == "pruning" else abs(cosine) < 0.2
    assert record["random"].max() > 0, "the test's own premise: some perturbations lead elsewhere"


def test_barriers_after_a_perturbation_lead_back_to_the_level(smoke):
    record, run, setup = smoke["robustness"], smoke.run, smoke.setup
    noted = smoke.trainings["perturbed_pruning_1"]
    state, mask = select(noted["state"], [3]), select(noted["mask"], [3])  # 2 units at the later rewind step
    recipe = setup.preset.main.config.recipe
    ends = training.train(setup.net(), state, setup.ds, recipe, mask, 10, order_seed=[0])
    back = setup.barrier(select(run[1].state, [2]), ends).height
    assert np.allclose(record["pruning"][1, 1, 1], back, atol=2 * ONE)
    assert np.allclose(record["pruning_error"][1, 1, 1], setup.error(ends), atol=ONE)


def test_one_unit_at_a_further_level_is_the_same_perturbation(smoke):
    """The smoke preset tries level 1 both ways: one training inside many, and one by itself."""
    record = smoke["robustness"]
    unit, many = smoke.trainings["perturbed_unit_1"], smoke.trainings["perturbed_random_1"]
    assert unit["start"] == [0, 10] and unit["seeds"] == [0, 0]
    assert all(torch.equal(unit["state"][name], many["state"][name][:2]) for name in unit["state"])
    assert all(torch.equal(unit["mask"][name], many["mask"][name][:2]) for name in unit["mask"])
    assert record["unit_level"].tolist() == [1]
    assert np.allclose(record["unit_error"][0], record["random_error"][1, 0], atol=3 * ONE)
    assert np.allclose(record["unit"][0], record["random"][1, 0], atol=4 * ONE)


def test_a_blow_is_the_error_of_what_training_starts_from(smoke):
    record, run, setup = smoke["blows"], smoke.run, smoke.setup
    level, column = 2, 3  # the middle rewind step, second replicate
    start = {name: t * run[level].mask.get(name, 1) for name, t in run.rewind.items()}
    found = {name: float(record[name].flatten(-2)[level, column]) for name in ("masked", "masked_recalibrated", "norm")}
    assert found["masked"] == pytest.approx(plain_error(smoke, start, column), abs=ONE)
    model = twins.module(setup.net(), start, column)
    model.load_state_dict(twins.recalibrated(model, setup.ds, 500), strict=False)
    assert found["masked_recalibrated"] == pytest.approx(twins.error(model, setup.ds.test_x, setup.ds.test_y), abs=ONE)
    weights = np.concatenate([start[name][column].flatten() for name in run[level].mask])
    assert found["norm"] == pytest.approx(np.linalg.norm(weights), rel=1e-5)
    removed = flat(smoke, start, column) - flat(smoke, pruning.apply(start, run[3].mask), column)
    unit = float(record["distance"].flatten(-2)[level, column])
    assert unit == pytest.approx(np.linalg.norm(removed), rel=1e-5)
    moved = perturbation.random_direction(start, run[level].mask, unit, experiment.OTHER)
    moved = {name: tensor + moved[name] for name, tensor in start.items()}
    assert record["level"].tolist() == [0, 1, 2]
    blow = float(record["perturbed"].flatten(-2)[level, column])
    assert blow == pytest.approx(plain_error(smoke, moved, column), abs=ONE)
    assert (record["masked"][0] != record["masked_recalibrated"][0]).any(), "the test's own premise"


def test_later_perturbations_go_on_from_the_training_itself(smoke):
    record, run, setup = smoke["forgiveness"], smoke.run.at(10), smoke.setup
    assert record["step"].tolist() == [15, 30] and record["scale"].tolist() == [0, 1, 2] and record["level"] == 1
    noted, recipe = smoke.trainings["perturbed_later"], setup.preset.main.config.recipe
    assert noted["start"] == [15] * 3 + [30] * 3 and noted["seeds"] == [0] * 6
    unit = float(smoke["robustness"]["distance"][1, 1, 0])
    for row, step in enumerate(noted["start"]):
        passing = training.train(
            setup.net(), select(run.rewind, [0]), setup.ds, recipe, select(run[1].mask, [0]), 10, step, [0]
        )
        moved = np.linalg.norm(flat(smoke, noted["state"], row) - flat(smoke, passing, 0))
        assert moved == pytest.approx(unit * (0, 1, 2)[row % 3], rel=1e-3, abs=1e-3)


def test_the_way_back_is_measured_between_two_trainings(smoke):
    record, run, net = smoke["return_path"], smoke.run.at(10), smoke.setup.net()
    unit = float(smoke["robustness"]["distance"][1, 1, 0])
    assert record["step"][0] == 10 and record["step"][-1] == 40 and record["scale"].tolist() == [1, 2]
    assert np.allclose(record["distance"][0, :, 0], [unit, 2 * unit], rtol=1e-5)
    start = {name: t * run[1].mask.get(name, 1) for name, t in run.rewind.items()}
    travelled = np.linalg.norm(flat(smoke, run[1].state, 0) - flat(smoke, start, 0))
    assert float(record["travelled"][-1, 0]) == pytest.approx(travelled, rel=1e-3)
    assert not record["cosine"][0].any() and (record["cosine"][1:].abs() <= 1).all()
    start, mask = select(start, [0]), select(run[1].mask, [0])
    moved = perturbation.random_direction(start, mask, 2 * unit, seed=experiment.OTHER)
    moved = {name: tensor + moved[name] for name, tensor in start.items()}
    recipe = smoke.setup.preset.main.config.recipe
    end = training.train(net, moved, smoke.setup.ds, recipe, mask, 10, order_seed=[0])
    far, near = flat(smoke, end, 0), flat(smoke, run[1].state, 0)
    assert float(record["distance"][-1, 1, 0]) == pytest.approx(np.linalg.norm(far - near), rel=1e-2)
    ways = far - flat(smoke, moved, 0), near - flat(smoke, start, 0)
    cosine = ways[0] @ ways[1] / np.linalg.norm(ways[0]) / np.linalg.norm(ways[1])
    assert float(record["cosine"][-1, 1, 0]) == pytest.approx(cosine, abs=0.02)


def test_tracks_in_the_plane_begin_and_end_where_the_trainings_do(smoke):
    record, path = smoke["return_plane"], smoke["return_path"]
    for i, j in enumerate((0, None)):  # lengths 1, of which both records tell, and 4
        calm, perturbed = record["track"][i]
        assert np.allclose(calm[0], 0, atol=1e-5) and float(calm[-1, 1]) == pytest.approx(0, abs=1e-3)
        assert float(calm[-1, 0]) == pytest.approx(float(path["travelled"][-1, 0]), rel=1e-3)
        if j is None:
            continue
        apart = float((calm[-1] - perturbed[-1]).norm())  # both ends lie in the plane
        assert apart == pytest.approx(float(path["distance"][-1, j, 0]), rel=1e-3)
        assert float((calm[0] - perturbed[0]).norm()) <= float(path["distance"][0, j, 0]) * 1.001


def test_refilling_is_what_numpy_counts(smoke):
    record, run = smoke["refilling"], smoke.run
    level, column = 1, 3  # the middle rewind step, second replicate
    here, after = run[level], run[level + 1]
    old, new, start = (
        np.concatenate([s[name][column][here.mask[name][column]] for name in here.mask]).astype(np.float64)
        for s in (run[level - 1].state, here.state, run.rewind)
    )
    gone = np.concatenate([
        run[level - 1].state[n][column][run[level - 1].mask[n][column] & ~here.mask[n][column]] for n in here.mask
    ])  # fmt: skip
    pruned = np.concatenate([~after.mask[name][column][here.mask[name][column]] for name in here.mask])
    smallest = np.argsort(abs(old))[: pruned.sum()]
    found = {name: float(value[level - 1, 1, 1]) for name, value in record.items() if value.dim() == 3}
    assert found["refilled"] == pytest.approx((abs(new) <= abs(gone).max()).mean())
    assert found["already"] == pytest.approx(pruned[smallest].mean())
    assert found["removed"] == pytest.approx(np.linalg.norm(new[pruned]) / np.linalg.norm(new))
    assert found["removed_without"] == pytest.approx(np.linalg.norm(old[smallest]) / np.linalg.norm(old))
    for prefix, other in (("", old), ("start_", start)):
        assert found[f"{prefix}signs"] == pytest.approx((np.sign(other) == np.sign(new)).mean())
        assert found[f"{prefix}magnitudes"] == pytest.approx(np.corrcoef(abs(other), abs(new))[0, 1])
    assert record["fraction"] == smoke.setup.preset.main.config.fraction


def test_histograms_are_shares_of_the_weights_that_are_left(smoke):
    record, run = smoke["histograms"], smoke.run.at(10)
    assert np.allclose(record["all"].sum(-1), 1) and np.allclose(record["layer"].sum(-1), 1)
    kept = run[2].mask["linear.weight"]
    shares = [
        np.histogram(abs(run[1].state["linear.weight"][r][kept[r]]), record["edges"])[0] / int(kept[r].sum())
        for r in (0, 1)
    ]
    assert np.allclose(record["layer"][-1, 1, 1], np.mean(shares, 0))  # the projection of level 1


def test_arms_without_retraining_are_what_they_are_called(smoke):
    record, setup, run = smoke["without_retraining"], smoke.setup, smoke.run.at(10)
    assert torch.equal(record["rewound"], smoke["winning_tickets"]["error"][:, 1])
    rewinding = smoke["controls"]["learning_rate_rewinding"]
    assert np.allclose(record["kept"][[1, 3]], rewinding, atol=ONE)
    brief = setup.run(rewind_step=30, rewinding="learning_rate")
    assert brief.config.rewind_step == (30,) and torch.equal(record["short"], brief.errors[:, 0])
    assert np.allclose(record["none"][0], record["rewound"][0], atol=ONE)
    column = 1
    weights = {name: abs(run[0].state[name][column].numpy()) for name in run[0].mask}
    left = int(pruning.remaining(run[3].mask)[column])
    limit = np.sort(np.concatenate([w.flatten() for w in weights.values()]))[-left - 1]
    state = {n: t * torch.from_numpy(abs(t.numpy()) > limit) if n in weights else t for n, t in run[0].state.items()}
    assert float(record["none"][3, column]) == pytest.approx(plain_error(smoke, state, column), abs=ONE)
    assert np.allclose(record["rewound_new_small"], rebuilt_new_small(smoke["refilling"])[:, 1], atol=0.01)
    single = setup.barrier(brief[1].state, brief[2].state).height
    assert np.allclose(record["short_barrier"][1], single, atol=2 * ONE)
    assert np.allclose(record["rewound_barrier"], smoke["successive_barriers"]["height"][:, 1], atol=2 * ONE)


def rebuilt_new_small(refilling):
    """From the share of all weights below the last threshold, but for the rounding of the number that is pruned."""
    return (refilling["refilled"] / refilling["fraction"]).clamp(max=1)


def test_fine_tuning_goes_on_from_its_own_projections(smoke):
    """Two levels written out with plain modules: prune a fifth, train all steps at a small rate, prune again."""
    record, setup, run = smoke["without_retraining"], smoke.setup, smoke.run.at(10)
    recipe = dataclasses.replace(setup.preset.main.config.recipe, steps=8, lr=0.02)
    assert record["fine_rate"].tolist() == [0.02, 0.1] and smoke.trainings["fine_0.02_2"]["recipe"] == recipe
    column, ds = 1, setup.ds
    model = twins.module(setup.net(), run[0].state, column)
    mask, limits = {name: keep[column] for name, keep in run[0].mask.items()}, []
    for level in (1, 2):
        weights = {name: t.clone() for name, t in model.state_dict().items()}
        after = twins.prune(weights, mask, 0.2)
        gone = torch.cat([weights[name][mask[name] & ~after[name]].abs() for name in mask])
        if level == 2:
            small = float((gone <= limits[0]).double().mean())
            assert float(record["fine_new_small"][0, 0, column]) == pytest.approx(small, abs=0.02)
        limits.append(gone.max())
        mask = after
        twins.sgd(model, ds, recipe, column, mask)
        assert float(record["fine"][0, level, column]) == pytest.approx(
            twins.error(model, ds.test_x, ds.test_y), abs=3 * ONE
        )
    assert record["fine"][0, 0, column] == record["rewound"][0, column]
    assert not torch.equal(record["fine"][0], record["fine"][1]), "the test's own premise: the rate matters"


def test_cycles_keep_the_one_shot_mask(smoke):
    """As many trainings as levels, from the dense solution, each from the rewind step on with the weights kept."""
    record, setup, run = smoke["cycles"], smoke.setup, smoke.run.at(10)
    assert record["level"].tolist() == [1, 3, 3, 3] and record["cycle"].tolist() == [1, 1, 2, 3]
    assert torch.equal(record["density"], run.densities[[1, 3, 3, 3]])
    model = twins.module(setup.net(), run[0].state, 0)
    mask = {name: keep[0] for name, keep in run[0].mask.items()}
    for _ in range(3):
        mask = twins.prune(model.state_dict(), mask, 0.2)
    for cycle in (1, 2, 3):
        noted = smoke.trainings[f"cycle_3_{cycle}"]
        assert noted["start"] == 10 and noted["seeds"] == [0]
        assert all(torch.equal(noted["mask"][name][0], keep) for name, keep in mask.items())
        twins.sgd(model, setup.ds, setup.preset.main.config.recipe, 0, mask, start=10)
        error = twins.error(model, setup.ds.test_x, setup.ds.test_y)
        assert float(record["error"][cycle, 0]) == pytest.approx(error, abs=0.05)
        model = twins.module(setup.net(), setup.train(f"cycle_3_{cycle}", *list(noted.values())[:4]), 0)


def test_robustness_is_drawn_and_told(smoke):
    """Every figure, table and sentence of chapter 3 from the records of the smoke preset."""
    names = "blows", "robustness", "winning_tickets", "successive_barriers", "forgiveness"
    blows, robust, tickets, barriers, later = (smoke[name] for name in names)
    drawn = [
        *robustness_figures.blow(blows, tickets, 10).drawings.values(), robustness_figures.back(robust),
        robustness_figures.who_returns(robust, tickets, barriers), robustness_figures.critical(robust),
        *robustness_figures.kinds(robust).drawings.values(), *robustness_figures.forgiveness(later).drawings.values(),
        robustness_figures.apart(smoke["return_path"]), robustness_figures.planes(smoke["return_plane"]),
    ]  # fmt: skip
    assert all(drawing.png() and drawing.alt.endswith(".") and drawing.caption.endswith(".") for drawing in drawn)
    before = 100 * float(blows["masked"][0, 1].mean())
    assert f"masked {before:.1f}, {before:.1f}, " in drawn[1].alt
    check_room(robustness_findings, 18)
    rows = robustness_findings.questions(robust, tickets, barriers, later)
    assert len(rows) == 4 and all(row.verdict in verdicts.VERDICTS for row in rows)
    assert len(robustness_findings.told_cases(robust, tickets, barriers)) == 2 + 2  # one level, two rewind steps
    assert len(robustness_findings.told_lengths(robust)) == 2 + 3 * 2
    assert all(value and "nan" not in value for value in robustness_findings.numbers("smoke").values())


def test_findings_of_retraining_are_drawn_and_told(smoke):
    names = "refilling", "histograms", "without_retraining", "cycles", "winning_tickets"
    refill, shapes, less, repeated, tickets = (smoke[name] for name in names)
    drawn = [
        *retraining_figures.histogram(shapes, smoke.run.at(10), 1).drawings.values(),
        retraining_figures.new_small(refill, tickets, (0, 10)), retraining_figures.removed(refill, (0, 10)),
        retraining_figures.signs(refill, tickets), retraining_figures.arms(less, tickets),
        retraining_figures.barriers(less, tickets), retraining_figures.cycles(repeated, less),
    ]  # fmt: skip
    assert all(drawing.png() and drawing.alt.endswith(".") for drawing in drawn)
    for row in (retraining_findings.row("smoke"), *retraining_findings.questions(refill, less, repeated, tickets)):
        assert row.verdict in verdicts.VERDICTS
    said = retraining_findings.sentences("smoke")
    assert len(said) == 3 + 6 + 2 and all(text.endswith(".") and "nan" not in text for text in said)
    assert all(text and "nan" not in text for text in retraining_findings.numbers("smoke").values())


def check_room(module, least):
    """The row of a claim, and so many sentences."""
    assert module.row("smoke").verdict in verdicts.VERDICTS
    said = module.sentences("smoke")
    assert len(said) >= least and all(text.endswith(".") and "nan" not in text for text in said)


def hessian(smoke, state, mask, column, examples=None):
    """Over all prunable weights, from backward passes through a plain module; and which of its rows are kept.

    Of the loss on the first ``examples`` of the training set, or on all.
    """
    net, ds = smoke.setup.net(), smoke.setup.ds
    model = twins.module(net, state, column).eval()
    x, y = ds.gather(torch.arange(examples or len(ds.train_y)))
    parameters = [dict(model.named_parameters())[name] for name in mask]
    loss = torch.nn.functional.cross_entropy(model(x), y)
    slope = torch.cat([g.flatten() for g in torch.autograd.grad(loss, parameters, create_graph=True)])
    keep = torch.cat([mask[name][column].flatten() for name in mask])

    def product(v):
        images = torch.autograd.grad(slope @ v, parameters, retain_graph=True)
        return torch.cat([g.flatten() for g in images]) * keep

    return product, torch.cat([p.detach().flatten() for p in parameters]), keep


def test_spectra_are_those_of_the_levels(smoke):
    record, run = smoke["spectra"], smoke.run.first(1)
    product, weights, keep = hessian(smoke, run[2].state, run[2].mask, 1)
    assert float(record["norm"][1, 1, 0]) == pytest.approx(float(weights[keep].norm()), rel=1e-4)
    for order, prune in enumerate((pruning.magnitude, lambda *a: pruning.random(*a, experiment.OTHER))):
        after = prune(run[2].state, run[2].mask, 0.2)
        gone = torch.cat([(run[2].mask[n][1] & ~after[n][1]).flatten() for n in after])
        step = weights * gone
        assert float(record["removed"][1, order, 1, 0]) == pytest.approx(float(step.norm()), rel=1e-4)
        bent = float(step @ product(step) / (step @ step))
        assert float(record["along"][1, order, 1, 0]) == pytest.approx(bent, rel=1e-2, abs=1e-5)
    assert torch.equal(record["largest"][0, 0], record["largest"][0, 1])  # level 0 is one network
    assert not torch.equal(record["largest"][1, 0], record["largest"][1, 1])
    assert (record["above"].diff(dim=1) <= 1e-9).all() and (record["predicted"].diff(dim=1) >= 0).all()


def test_the_exact_spectrum_has_the_hessians_moments(smoke):
    """The trace of its square is the mean square of products with random signs; and the wells follow from it."""
    record, run = smoke["exact"], smoke.run.at(10)
    assert record["level"].tolist() == [2]
    matrix = curvature.hessian(
        smoke.setup.net(), select(run[2].state, [0]), *(each[:64] for each in smoke.setup.ds.training_set()),
        select(run[2].mask, [0]),
    )[0]  # fmt: skip
    product, weights, keep = hessian(smoke, run[2].state, run[2].mask, 0, 64)
    v = torch.randn(len(weights), generator=torch.Generator().manual_seed(0)) * keep
    assert torch.allclose(matrix @ v[keep], product(v)[keep], rtol=1e-2, atol=1e-4)
    values = np.linalg.eigvalsh(matrix.double().numpy())
    above = [(values > e).mean() for e in record["grid"].tolist()]
    assert np.allclose(record["above"][0, 0], above, atol=3 / len(values))
    lowest = record["lowest"][0, 0]
    assert (lowest.diff(dim=-1) >= 0).all() and (lowest[0, :6] <= lowest[1, :6]).all()


def test_projected_losses_are_those_of_pruned_networks(smoke):
    record, run = smoke["projected"], smoke.run.first(1)
    assert np.allclose(record["error"][1, 0, 0], smoke["winning_tickets"]["error"][2, :, :1], atol=ONE)
    mask = pruning.random(run[2].state, run[2].mask, 0.3, experiment.OTHER)
    pruned = {n: t * mask[n] if n in mask else t for n, t in run[2].state.items()}
    at = record["fraction"].tolist().index(0.3)
    assert float(record["error"][1, 1, at, 2, 0]) == pytest.approx(plain_error(smoke, pruned, 2), abs=ONE)


def test_descents_start_from_projections_and_stay_inside(smoke):
    """Each against a plain module, trained alone with ``backward`` on the batches of the main training."""
    record, run, setup = smoke["descents"], smoke.run.first(1), smoke.setup
    noted = smoke.trainings["descent_2"]
    assert noted["start"] == 0 and noted["seeds"] == [0] * 15
    recipe = dataclasses.replace(setup.preset.main.config.recipe, steps=4, lr=0.02)
    assert noted["recipe"] == recipe
    mask = pruning.random(run[2].state, run[2].mask, 0.2, experiment.OTHER)
    for name in mask:  # no pruning, two by magnitude, then two at random, each for three rewind steps
        assert torch.equal(noted["mask"][name][3 * 3 + 1], mask[name][1])
        assert torch.equal(noted["mask"][name][:3], run[2].mask[name])
        assert torch.equal(noted["state"][name][3 * 3 + 1], run[2].state[name][1])
    x, y = setup.ds.gather(torch.arange(len(setup.ds.train_y)))
    for kept, loss, barrier in (
        (mask, record["loss"][1, 1, 0, 1, 0], record["barrier"][1, 1, 0, 1, 0]),
        (run[2].mask, record["control_loss"][1, 1, 0], record["control_barrier"][1, 1, 0]),
    ):
        model = twins.module(setup.net(), run[2].state, 1)
        twins.sgd(model, setup.ds, recipe, 0, {name: keep[1] for name, keep in kept.items()})
        assert float(loss) == pytest.approx(twins.loss(model, x, y), rel=1e-3)
        end = {name: tensor[None].clone() for name, tensor in model.state_dict().items()}
        back = float(setup.barrier(select(run[2].state, [1]), end).height)
        assert float(barrier) == pytest.approx(back, abs=2 * ONE)


def test_the_limit_during_training_ends_at_level_0(smoke):
    record, spectra = smoke["during_training"], smoke["spectra"]
    assert record["step"].tolist() == [20, 40]
    assert torch.allclose(record["removed"][-1], spectra["removed"][0, :, 0], rtol=1e-2)
    assert torch.allclose(record["loss"][-1], smoke["projected"]["loss"][0, :, :, 0], rtol=0.05, atol=0.02)


def test_adaptive_runs_keep_to_their_threshold(smoke):
    record, setup = smoke["adaptive"], smoke.setup
    run = setup.run(rewind_step=10, fraction=Adaptive(0.1), levels=2, replicates=1)
    assert torch.equal(record["error"][0], run.errors[:, 0]) and torch.equal(record["density"][0], run.densities)
    assert record["density"][0].diff().lt(0).all() and record["rise"].tolist() == [0.1]


def test_evidence_of_chapters_1_and_2_is_made_from_records(smoke):
    """Rows, sentences and figures of what the experiments really give; three levels are too few for a verdict on C1."""
    names = "winning_tickets", "controls", "fresh_starts", "instability", "contrast", "successive_barriers", "all_pairs"
    names += "recalibrated_pairs", "projections", "failing_masks", "found_masks", "architectures"
    record = {name: smoke[name] for name in names}
    assert tickets_findings.row("smoke").verdict in verdicts.VERDICTS
    assert barriers_findings.row("smoke").verdict == verdicts.UNTESTED
    assert barriers_findings.mask_row("smoke").verdict in verdicts.VERDICTS
    said = tickets_findings.sentences("smoke") + barriers_findings.sentences("smoke")
    assert len(said) > 40 and len(set(said)) > len(said) - 3
    for sentence in said:
        assert sentence[0].isupper() and sentence.endswith(".") and not re.search(r"\b(nan|None|tensor)\b", sentence)
    tickets, barriers = record["winning_tickets"], record["successive_barriers"]
    others = readings.by_network(tickets, barriers, record["contrast"], record["architectures"])
    assert list(others) == ["residual 8", "plain, without BatchNorm 8", "plain 4", "residual 4, two blocks"]
    drawn = (
        tickets_figures.controls(tickets, record["controls"], record["fresh_starts"]),
        *barriers_figures.law(tickets, barriers).drawings.values(), barriers_figures.by_level(tickets, barriers),
        maps.pairs(record["all_pairs"], record["recalibrated_pairs"]),
        barriers_figures.found_masks(record["found_masks"], tickets), barriers_figures.networks(others),
    )  # fmt: skip
    for drawing in drawn:
        assert drawing.alt[0].isupper() and drawing.alt.endswith(".") and "nan" not in drawing.alt
        assert drawing.png().startswith(b"\x89PNG")


def test_the_editor_s_page_has_every_claim_and_record(smoke):
    """A row for each claim of the abstract, all sentences of the rooms, seconds and machine of each record."""
    rows, text = claims.abstract("smoke"), "\n".join(editor.page("smoke"))
    assert len(rows) == 6 and all(f"**{row.claim}: {row.verdict}.**" in text for row in rows)
    for room in claims.ROOMS.values():
        assert all(f"- {sentence}\n" in text for sentence in room.sentences("smoke"))
    seconds = [smoke[name].about["seconds"] for name in experiment.experiments_of("smoke")]
    assert f"in all {sum(seconds) / 3600:.2f} hours" in text and text.count(records.VERSION) == len(seconds)


def test_chapter_4_is_made_from_smoke_records(smoke):
    """The row, every sentence, number and figure; nothing is left unsaid for want of a case."""
    names = "spectra", "descents", "projected", "convergence", "exact", "overlap", "during_training", "adaptive"
    record = {name: smoke[name] for name in (*names, "winning_tickets", "controls")}
    row = limits_findings.row("smoke")
    assert row == limits_findings.judged(record["spectra"], record["descents"], 10)
    assert row.verdict in verdicts.VERDICTS
    said = limits_findings.sentences("smoke")
    assert len(said) > 20 and not any("nan" in sentence for sentence in said)
    largest = record["spectra"]["largest"][:, 1, 0]
    assert any(f"k = 10, levels 0, 2: largest eigenvalue {largest[0]:.2f} ± 0.00, " in sentence for sentence in said)
    named = limits_findings.numbers("smoke")
    along = record["spectra"]["along"][0, :, 1, 0]  # by magnitude, at random
    assert named["limit along"] == f"{100 * along[0] / along[1]:.0f} %" and named["limit replicates"] == "1"
    assert not any("nan" in value for value in named.values())
    tickets = record["winning_tickets"]
    drawn = (
        limits_figures.spectra(record["spectra"]),
        *limits_figures.convergence(record["convergence"], 4).drawings.values(),
        limits_figures.flatter(record["spectra"], record["overlap"], 10),
        limits_figures.one_shot(tickets, record["controls"], record["spectra"]),
        limits_figures.adaptive(tickets, record["adaptive"], 10),
        *limits_figures.over_wells(record["spectra"], record["descents"], 10).drawings.values(),
        *limits_figures.loss_and_mode(record["descents"], 10).drawings.values(),
    )  # fmt: skip
    for drawing in drawn:
        assert drawing.png() and drawing.alt.endswith(".") and "nan" not in drawing.alt + drawing.caption
    assert f"largest {largest[0]:.1f}, {largest[1]:.1f}" in drawn[0].alt


def refuse(*_, **__):
    raise AssertionError("something is loaded or trained again")


def test_what_lies_on_disk_is_enough_to_make_the_records_again(smoke, monkeypatch):
    """A new process finds runs and trainings, trains nothing, and ends in the same numbers."""
    first = {name: smoke[name] for name in ("controls", "failing_masks")}
    for record in first.values():
        record.path.unlink()
    experiment._setup.cache_clear()
    with monkeypatch.context() as patch:
        patch.setattr(sgd.Group, "update", refuse)
        for name, record in first.items():
            again = recorded(name, "smoke", device="cpu")
            assert all(torch.equal(again[key], record[key]) for key in record)
        patch.setattr(experiment.imp, "run", refuse)
        experiment._setup.cache_clear()
        assert torch.equal(recorded("plane", "smoke", device="cpu")["error"], smoke["plane"]["error"])  # not even runs


@pytest.mark.parametrize("name", NEEDED)
def test_published_records_are_read_without_their_data(monkeypatch, name):
    """Those of Fashion-MNIST, where it is not on disk. Once it is loaded, and is other data, they are not served."""
    monkeypatch.setattr(data, "load", refuse)
    monkeypatch.setattr(records, "PUBLISHED", Path(records.__file__).resolve().parent.parent / "records")
    experiment._setup.cache_clear()
    shared = experiment.setup("medium", device="cpu")
    assert experiment.record(name, shared, recompute=False).about["preset"] == "medium"
    vars(shared)["ds"] = types.SimpleNamespace(digest="of other data")
    monkeypatch.setattr(records, "load_or_compute", lambda *_: "computed")
    with pytest.warns(UserWarning, match=rf"medium/{name}\.safetensors cannot be used: .* other data"):
        assert experiment.record(name, shared, recompute=False) == "computed"
    experiment._setup.cache_clear()


# Presets and the command line


def test_an_unknown_preset_names_the_allowed():
    with pytest.raises(ValueError, match="preset is 'boook'.*'smoke', 'book'.*did you mean 'book'"):
        recorded("winning_tickets", "boook")


@pytest.mark.parametrize("name", PRESETS)
def test_presets_fit_together(name):
    preset = PRESETS[name]
    main, contrast, tickets = preset.main.config, preset.contrast.config, preset.tickets
    k, robustness, limits = tickets.control_step, preset.robustness, preset.limits
    assert k in main.rewind_step and k > min(main.rewind_step)
    assert all(1 <= level <= main.levels for level in tickets.control_levels)
    assert 0 <= preset.barriers.plane_level < main.levels
    assert max(tickets.instability_steps) < main.recipe.steps
    if (walk := preset.barriers.walk) is not None:  # and with it all that the second edition adds to these chapters
        assert max(walk.return_levels) <= walk.levels <= main.levels and {0, k} <= set(walk.return_steps)
        assert set(walk.return_steps) | set(preset.barriers.recalibrated_steps) <= set(main.rewind_step)
        assert preset.barriers.recalibrated_replicates <= main.replicates and max(tickets.fresh_levels) <= main.levels
        assert tickets.points % 2 and all(arm.config.recipe.steps == main.recipe.steps or name == "smoke"
                                          for arm in preset.barriers.networks)  # fmt: skip
    assert min(main.rewind_step) == min(contrast.rewind_step) == 0
    assert main.replicates < experiment.OTHER and contrast.replicates < experiment.OTHER
    assert max((*limits.levels, *limits.exact_levels)) <= main.levels and limits.levels[0] == 0
    assert max(limits.steps) <= main.recipe.steps and limits.replicates <= main.replicates
    assert set(limits.rewind_steps or ()) <= set(main.rewind_step) and set(limits.exact_levels) <= set(limits.levels)
    if limits.descent:
        assert set(limits.descent.rewind_steps or ()) <= set(limits.rewind_steps or main.rewind_step)
    assert len(robustness.levels) == 3 and max(robustness.levels) < main.levels
    needed = {1.0} if name == "medium" else {1.0, 2.0, 4.0}  # the claim's own, and what chapter 3 draws
    assert robustness.replicates <= main.replicates and needed <= set(robustness.scales)
    assert list(robustness.levels) == sorted(robustness.levels)
    assert set(robustness.rewind_steps or ()) <= set(main.rewind_step)
    assert set(robustness.few_scales or (1.0, 2.0)) >= {1.0, 2.0}
    assert max(robustness.unit_levels or (0,)) < main.levels
    assert max(preset.retraining.cycle_levels or (0,)) <= main.levels
    assert all(k <= step < main.recipe.steps for step in (*robustness.times, preset.retraining.short_step))
    if name == "book":
        assert main.replicates >= 5 and min(contrast.replicates, limits.replicates) >= 4 and robustness.replicates >= 3
        assert len(main.rewind_step) >= 4
        assert main.recipe.lr == 0.3 and main.recipe.steps == 1500 and main.fraction == 0.2


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        ({"preset": "nope"}, "preset is 'nope'.*allowed are 'smoke', 'book'"),
        ({"preset": 1}, "preset is 1.*allowed are"),
        ({"preset": ["book"]}, "preset is .'book'.*allowed are"),
        ({"recompute": "False"}, "recompute is 'False' .str.; it must be True or False"),
        ({"recompute": 1}, "recompute is 1 .int."),
        ({"recompute": None}, "recompute is None"),
        ({"device": "gpu"}, "device is 'gpu'.*allowed are 'auto', 'cpu'"),
    ],
)
def test_a_wrong_parameter_is_named_wherever_it_is_taken(wrong, message):
    given = {"preset": "smoke", "recompute": False, "device": "cpu", **wrong}
    for taking in (experiment.settings, experiment.setup, projections):
        with pytest.raises(ValueError, match=message):
            taking(**given)


@pytest.fixture
def tiny(monkeypatch, folders, ds):
    """Two experiments that cost little, one of them on a run, in folders of their own."""
    calls, smoke = [], PRESETS["smoke"]
    recipe = training.Recipe(steps=20, batch_size=16, lr=0.1)
    arm = presets.Arm("cnn1d", imp.Config(recipe, (0, 10), levels=1, replicates=1), width=4)
    monkeypatch.setitem(PRESETS, "smoke", dataclasses.replace(smoke, main=arm))

    def one(s):
        calls.append("one")
        return {"error": s.run().errors}

    def two(s):
        calls.append("two")
        return {"value": s.ds.train_y}

    pair = {"one": (one, ("dataset", "main")), "two": (two, ("dataset", "tickets.points"))}
    for module in (command, experiment):
        monkeypatch.setattr(module, "EXPERIMENTS", pair)
    monkeypatch.setattr(data, "load", lambda name, device="auto": ds)
    return calls, *folders


def make(*names):
    """The command, in a process of its own."""
    experiment._setup.cache_clear()
    command.main(["--preset", "smoke", "--device", "cpu", *names])
    experiment._setup.cache_clear()


def state_of(folder):
    """Content and time of every file."""
    return {path: (path.read_bytes(), path.stat().st_mtime_ns) for path in folder.rglob("*") if path.is_file()}


def about(folder, name):
    return store.read(folder / "smoke" / f"{name}.safetensors")[1]


def test_the_command_makes_all_records_of_a_preset_again(tiny, capsys):
    calls, published, runs = tiny
    for count in (1, 2):
        make()
        assert calls == ["one", "two"] * count  # from nothing: the published run and records are passed over
        there = {p.name for p in (published / "smoke").iterdir()}
        assert there == {"one.safetensors", "two.safetensors", "imp_main"}
        assert list(records.published_runs("smoke")) == ["imp_main"]
        assert not records.work_folder("smoke").exists()
    said = capsys.readouterr().out
    assert re.search(r"two: 0.0 s on CPU.*; about 0 seconds left\nin all 0.00 hours", said)
    assert about(published, "one")["runs"] == {"imp_main": records.VERSION} and about(published, "two")["runs"] == {}


def test_the_command_makes_one_record_again(tiny, monkeypatch):
    """On the published run, of which the record says what made it; what else is published or in runs/ stays."""
    calls, published, _ = tiny
    make()
    before = state_of(published)
    recorded("two", "smoke", True, "cpu")  # finished in runs/, but not asked for
    monkeypatch.setattr(records, "_REVISION", "fedcba98")
    monkeypatch.setattr(records, "VERSION", "9.9+fedcba98")
    recorded("two", "smoke", True, "cpu")
    with monkeypatch.context() as patch:
        patch.setattr(sgd.Group, "update", refuse)
        for _ in range(2):
            make("one")
    assert calls == ["one", "two", "two", "two", "one", "one"]
    changed = {path.name for path, state in state_of(published).items() if before.get(path) != state}
    assert changed == {"one.safetensors", "manifest.json"}
    made, other = about(published, "one"), about(published, "two")["versions"]["lotterylib"]
    assert made["versions"]["lotterylib"] == "9.9+fedcba98" and made["runs"] == {"imp_main": other}
    assert other.startswith(lotterylib.__version__)


def test_a_preset_made_again_takes_nothing_that_was_computed_from_published_runs(tiny, monkeypatch):
    """A record of one go holds nothing of another revision's."""
    calls, published, _ = tiny
    make()
    made_by = records.VERSION
    monkeypatch.setattr(records, "_REVISION", "fedcba98")
    monkeypatch.setattr(records, "VERSION", "9.9+fedcba98")
    (published / "smoke" / "one.safetensors").unlink()
    with pytest.warns(UserWarning, match="one.safetensors cannot be used"):
        assert recorded("one", "smoke", device="cpu").about["runs"] == {"imp_main": made_by}
    make()
    assert calls == ["one", "two", "one", "one", "two"]
    assert about(published, "one")["runs"] == {"imp_main": "9.9+fedcba98"}


def test_the_command_leaves_out_what_a_preset_sets_nothing_for(tiny, monkeypatch):
    calls, published, _ = tiny

    def three(s):
        calls.append("three")
        return {"value": s.ds.train_y}

    three.only_with = "tickets.fresh_levels"
    monkeypatch.setitem(experiment.EXPERIMENTS, "three", (three, ("dataset", "tickets.fresh_levels")))
    make("three")
    make()
    assert calls == ["three", "one", "two", "three"]
    smoke = PRESETS["smoke"]
    without = dataclasses.replace(smoke, tickets=dataclasses.replace(smoke.tickets, fresh_levels=None))
    monkeypatch.setitem(PRESETS, "smoke", without)
    make()
    assert calls[4:] == ["one", "two"] and about(published, "one")


def test_recomputing_never_reads_what_is_published(tiny, monkeypatch):
    make()
    for name in ("published", "published_runs", "is_published", "_manifest"):
        monkeypatch.setattr(records, name, refuse)
    trained = []
    update = sgd.Group.update
    monkeypatch.setattr(sgd.Group, "update", lambda *args: (trained.append(1), update(*args))[1])
    recorded("one", "smoke", True, "cpu")
    assert trained
    experiment._setup.cache_clear()
    monkeypatch.setattr(sgd.Group, "update", refuse)
    recorded("one", "smoke", True, "cpu")  # resumption: this revision finished it


def test_a_published_run_is_read_and_never_written(tiny, monkeypatch):
    """Be it read, refused, or damaged: published files keep their bytes and their times."""
    _, published, _ = tiny
    make()
    before = state_of(published)
    places = [published, *(path for path in published.rglob("*"))]
    for path in places:
        path.chmod(0o555 if path.is_dir() else 0o444)  # which does not keep out the superuser
    try:
        with monkeypatch.context() as patch:
            patch.setattr(sgd.Group, "update", refuse)
            run = experiment.setup("smoke", device="cpu").run()
            assert torch.equal(run.errors, recorded("one", "smoke", device="cpu")["error"])
        assert not records.work_folder("smoke").exists() and state_of(published) == before

        more = dataclasses.replace(PRESETS["smoke"].main.config, seed=5)
        changed = dataclasses.replace(PRESETS["smoke"], main=presets.Arm("cnn1d", more, width=4))
        with monkeypatch.context() as patch:
            patch.setitem(PRESETS, "smoke", changed)
            experiment._setup.cache_clear()
            with pytest.warns(UserWarning, match="imp_main holds a run with other settings") as noted:
                assert experiment.setup("smoke", device="cpu").run().config.seed == 5
        assert len(noted) == 1 and state_of(published) == before
    finally:
        for path in places:
            path.chmod(0o755 if path.is_dir() else 0o644)


def test_a_damaged_published_run_is_made_in_the_work_folder(tiny):
    _, published, _ = tiny
    make()
    errors = experiment.setup("smoke", device="cpu").run().errors
    (path,) = published.rglob("level_01.safetensors")
    path.write_bytes(path.read_bytes()[:-1])
    before = state_of(published)
    experiment._setup.cache_clear()
    with pytest.warns(UserWarning, match=r"level_01\.safetensors cannot be used") as noted:
        again = experiment.setup("smoke", device="cpu").run()
    assert len(noted) == 1 and state_of(published) == before
    assert torch.equal(again.errors, errors)
    assert list(records.work_folder("smoke").rglob("level_01.safetensors"))
    assert experiment.setup("smoke", device="cpu").made_by == {"imp_main": records.VERSION}


def test_a_run_of_fewer_levels_is_the_beginning_of_the_whole(tiny, monkeypatch):
    """It makes no level more; the whole run goes on from it, and once that is there, neither trains anything."""
    beginning = experiment.setup("smoke", device="cpu").run(levels=0)
    folder = records.work_folder("smoke")
    assert len(beginning) == 1 and [path.name for path in folder.rglob("level_*")] == ["level_00.safetensors"]
    whole = experiment.setup("smoke", device="cpu").run()
    assert len(whole) == 2 and torch.equal(whole.errors[:1], beginning.errors)
    experiment._setup.cache_clear()
    monkeypatch.setattr(sgd.Group, "update", refuse)
    for levels in (0, 1):
        again = experiment.setup("smoke", device="cpu").run(levels=levels)
        assert torch.equal(again.errors, whole.errors[: levels + 1])


def test_an_interrupted_command_goes_on(tiny, monkeypatch):
    """What was finished before the interruption is not run again, and all of it is published at the end."""
    calls, published, _ = tiny

    def stop(s):
        raise KeyboardInterrupt

    with monkeypatch.context() as patch, pytest.raises(KeyboardInterrupt):
        patch.setitem(experiment.EXPERIMENTS, "two", (stop, experiment.EXPERIMENTS["two"][1]))
        make()
    assert calls == ["one"] and not list(published.iterdir())
    with monkeypatch.context() as patch:
        patch.setattr(sgd.Group, "update", refuse)
        make()
    assert calls == ["one", "two"] and len(list((published / "smoke").iterdir())) == 3


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--preset", "smok"], "preset is 'smok'.*did you mean 'smoke'"),
        (["--preset", "smoke", "tow"], "experiment is 'tow'.*allowed are 'one', 'two'; did you mean 'two'"),
        ([], "--preset"),
    ],
)
def test_the_command_refuses(tiny, capsys, arguments, message):
    with pytest.raises(SystemExit) as stopped:
        command.main(arguments)
    assert stopped.value.code == 2 and not tiny[0]
    assert re.search(message, capsys.readouterr().err)
