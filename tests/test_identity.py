"""One change at a time of data, network, recipe, settings or folder: an old result is never returned."""

import dataclasses
import shutil

import numpy as np
import pytest
import torch
from torch import nn

from lotterylib import data, imp, networks, pruning, sgd, training


def arrays():
    rng = np.random.default_rng(0)
    y = rng.integers(0, 3, 90)
    x = (rng.normal(size=(3, 6))[y] + rng.normal(size=(90, 6))).astype(np.float32)
    return {"train_x": x[:60], "train_y": y[:60], "test_x": x[60:], "test_y": y[60:]}


class Net(nn.Module):
    """Small, and different in what is asked for; only some of it shows when the module is printed."""

    def __init__(self, width=5, act=torch.relu, scale=1.0, draw=1.0, constant=False, bias=True, frozen=False,
                 momentum=0.1, eps=1e-5, extra=False):  # fmt: skip
        super().__init__()
        self.first, self.norm = nn.Linear(6, width), nn.BatchNorm1d(width, eps, momentum)
        self.last, self.act, self.scale = nn.Linear(width, 3, bias), act, scale
        with torch.no_grad():
            self.first.weight *= draw
            if constant:
                self.last.weight.fill_(0.1)
        if frozen:
            self.first.bias.requires_grad_(False)
        if extra:
            self.register_buffer("extra", torch.zeros(2))

    def forward(self, x):
        return self.last(self.act(self.norm(self.first(x)))) * self.scale


@dataclasses.dataclass(frozen=True)
class Rule:
    """Random pruning, as a rule of one's own."""

    share: float

    def __call__(self, net, ds, state, mask):
        return pruning.random(state, mask, self.share, seed=1)


class Other(Rule):
    """The same number, and something else done with it."""

    def __call__(self, net, ds, state, mask):
        return pruning.random(state, mask, self.share, seed=2)


RECIPE = training.Recipe(steps=6, batch_size=15, lr=0.1, schedule="step", drops=(4,), weight_decay=1e-2)
CONFIG = imp.Config(RECIPE, rewind_step=2, levels=1, fraction=0.25, replicates=2)


def changed(name, change):
    made = {key: value.copy() for key, value in arrays().items()}
    made[name] = change(made[name])
    return made


def nudge(value):
    value.flat[7] = (value.flat[7] + 1) % 3 if value.dtype.kind == "i" else value.flat[7] + 0.5
    return value


def together(split, order):
    made = arrays()
    return {key: value[order(len(value))] if key.startswith(split) else value for key, value in made.items()}


DATA = {
    "train rows in another order": together("train", lambda n: np.arange(n)[::-1]),
    "test rows in another order": together("test", lambda n: np.arange(n)[::-1]),
    "a train row less": together("train", lambda n: np.arange(n - 1)),
    "a test row less": together("test", lambda n: np.arange(n - 1)),
    "features shuffled": {**changed("train_x", lambda x: x[:, ::-1]), "test_x": arrays()["test_x"][:, ::-1]},
    "train features shuffled": changed("train_x", lambda x: x[:, ::-1]),
    "test features shuffled": changed("test_x", lambda x: x[:, ::-1]),
    "inputs negated": {**changed("train_x", lambda x: -x), "test_x": -arrays()["test_x"]},
    "one train number": changed("train_x", nudge),
    "one test number": changed("test_x", nudge),
    "one train label": changed("train_y", nudge),
    "one test label": changed("test_y", nudge),
    "train inputs scaled": changed("train_x", lambda x: x * np.float32(1.5)),
    "last bit of a test input": changed("test_x", lambda x: np.where(x == x[3, 2], np.nextafter(x, np.float32(9)), x)),
}
NETWORK = {
    "width": {"width": 6}, "activation": {"act": torch.tanh}, "a factor in forward": {"scale": 1.01},
    "drawn larger": {"draw": 1.01}, "drawn constant": {"constant": True}, "no bias": {"bias": False},
    "a frozen bias": {"frozen": True}, "BatchNorm's momentum": {"momentum": 0.2}, "BatchNorm's epsilon": {"eps": 1e-3},
    "another buffer": {"extra": True},
}  # fmt: skip
RECIPES = {
    "steps": {"steps": 7}, "batch size": {"batch_size": 20}, "rate": {"lr": 0.11}, "momentum": {"momentum": 0.8},
    "schedule": {"schedule": "constant", "drops": ()}, "weight decay": {"weight_decay": 1e-3}, "warm-up": {"warmup": 2},
    "drops": {"drops": (5,)}, "drop": {"drop": 0.2}, "nesterov": {"nesterov": True},
    "precision": {"precision": "bfloat16"},
}  # fmt: skip
CONFIGS = {
    "rewind step": {"rewind_step": 3}, "fraction": {"fraction": 0.26}, "replicates": {"replicates": 3},
    "seed": {"seed": 1}, "rewinding": {"rewinding": "learning_rate"}, "pruning": {"pruning": "one_shot", "levels": 2},
    "layer by layer": {"fraction": {"first.weight": 0.25, "last.weight": 0.25}},
    "a rate for each layer": {"fraction": {"first.weight": 0.25, "last.weight": 0.125}},
    "a rule": {"fraction": Rule(0.25)}, "the rule's number": {"fraction": Rule(0.3)}, "rule": {"fraction": Other(0.25)},
}  # fmt: skip


def case(change=None):
    """Network, dataset and configuration, with one change."""
    ds = data.from_arrays("small", **DATA.get(change, arrays()), device="cpu")
    prunable = ["first.weight"] if change == "prunable" else None
    net = networks.wrap(lambda: Net(**NETWORK.get(change, {})), "cpu", prunable)
    config = dataclasses.replace(CONFIG, recipe=dataclasses.replace(RECIPE, **RECIPES.get(change, {})))
    return net, ds, dataclasses.replace(config, **CONFIGS.get(change, {}))


@pytest.fixture(scope="module")
def old(tmp_path_factory):
    """The folder of a finished run, and its files."""
    folder = tmp_path_factory.mktemp("old")
    imp.run(*case(), checkpoint=folder)
    return folder, {path: path.read_bytes() for path in folder.glob("*/*")}


def steps_taken(monkeypatch):
    taken, update = [], sgd.Group.update
    monkeypatch.setattr(sgd.Group, "update", lambda group: (taken.append(len(group.rows)), update(group))[1])
    return taken


def test_without_a_change_it_is_returned(old, monkeypatch):
    taken = steps_taken(monkeypatch)
    imp.run(*case(), checkpoint=old[0])
    assert not taken


CHANGES = ["prunable", *DATA, *NETWORK, *RECIPES, *CONFIGS]
assert len(set(CHANGES)) == len(CHANGES) >= 40


@pytest.mark.parametrize("change", CHANGES)
def test_with_a_change_it_is_not(old, change, monkeypatch):
    folder, files = old
    net, ds, config = case(change)
    fresh = imp.run(net, ds, config)
    taken = steps_taken(monkeypatch)
    found = imp.run(net, ds, config, checkpoint=folder)
    assert sum(taken) == sum(config.steps_of(level) for level in range(config.levels + 1))
    for one, two in zip(found.levels, fresh.levels, strict=True):
        assert all(torch.equal(one.state[name], two.state[name]) for name in two.state)
        assert torch.equal(one.error, two.error)
    assert all(path.read_bytes() == content for path, content in files.items()), "and the old files are as they were"


def test_files_of_another_run_in_its_folder_are_refused(old, tmp_path):
    net, ds, config = case("seed")
    expected = imp.run(net, ds, config, checkpoint=tmp_path)
    (own,) = tmp_path.iterdir()
    for path in old[1]:
        if path.suffix == ".safetensors":
            shutil.copy(path, own)
    with pytest.warns(UserWarning, match="cannot be used .it belongs to other settings"):
        found = imp.run(net, ds, config, checkpoint=tmp_path)
    assert torch.equal(found.errors, expected.errors)


def test_a_training_is_known_by_all_that_it_is_given(tmp_path, monkeypatch):
    """As a run is, so is one training: by state, mask, steps, order and all of the above."""
    net, ds, config = case()
    state = net.init(2)
    mask = {name: state[name] > 0 for name in net.prunable}
    state = {name: tensor * mask[name] if name in mask else tensor for name, tensor in state.items()}
    given = {"net": net, "state": state, "ds": ds, "recipe": config.recipe, "mask": mask, "order_seed": 3}
    training.train(**given, checkpoint=tmp_path)
    taken = steps_taken(monkeypatch)
    training.train(**given, checkpoint=tmp_path)
    assert not taken
    moved = {name: tensor + 1e-7 for name, tensor in net.init(2).items()}
    for change in ({"state": moved}, {"mask": None}, {"start": 1}, {"stop": 5}, {"order_seed": [3, 5]}):
        training.train(**{**given, **change}, checkpoint=tmp_path)
        assert taken, change
        taken.clear()
