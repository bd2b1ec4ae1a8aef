"""Small things that many tests share: datasets and networks that train in milliseconds, one IMP run, one browser."""

import os
import signal
from pathlib import Path

import numpy as np
import pytest
import soak
import torch
from built_book import chromium
from torch import nn

from lotterybook import experiment, records
from lotterylib import data, imp, networks, training

torch.set_num_threads(1)  # tiny tensors: a second thread only costs
signal.signal(signal.SIGINT, signal.default_int_handler)  # ignored where a shell started the tests in the background
for name in ("MAKEFLAGS", "MFLAGS", "MAKELEVEL"):  # a make that a test starts is no part of the one that runs the tests
    os.environ.pop(name, None)


def pytest_addoption(parser):
    parser.addoption("--keep", type=Path, help="with -m soak: the page that receives the tables, if all went well")


def pytest_terminal_summary(terminalreporter, exitstatus, config):
    if config.getoption("markexpr") == "soak" and soak.TABLES:
        terminalreporter.write_line(f"\n{soak.tables()}")
        if (page := config.getoption("keep")) and exitstatus == 0:
            soak.keep(page)


@pytest.fixture(scope="session")
def browser():
    """One browser for all pages of the built book."""
    with chromium() as running:
        yield running


@pytest.fixture(scope="session")
def ds():
    """240 + 300 examples of 12 features in 3 overlapping classes."""
    rng = np.random.default_rng(0)
    y = rng.integers(0, 3, 540)
    x = (rng.normal(size=(3, 12))[y] + rng.normal(size=(540, 12))).astype(np.float32)
    return data.from_arrays("blobs", x[:240], y[:240], x[240:], y[240:], device="cpu")


@pytest.fixture(scope="session")
def pictures():
    """80 + 60 small colour images in 3 classes, cropped and flipped at random in training."""
    rng = np.random.default_rng(1)
    y = rng.integers(0, 3, 140)
    x = (rng.integers(0, 100, (140, 8, 8, 3)) + 50 * np.eye(3, dtype=int)[y][:, None, None]).astype(np.uint8)
    return data.from_arrays("pictures", x[:80], y[:80], x[80:], y[80:], device="cpu", augment=True)


@pytest.fixture(scope="session")
def mnist1d():
    """The embedded dataset, made once."""
    return data.load("mnist1d", device="cpu")


@pytest.fixture(scope="session")
def net(ds):
    """The testbed's network, four channels wide."""
    return networks.build("cnn1d", ds, width=4)


@pytest.fixture(scope="session")
def smoke_folder(tmp_path_factory):
    """What is computed for the smoke preset on a smaller test set, kept for all modules that need it."""
    return tmp_path_factory.mktemp("smoke")


class Picture(nn.Module):
    """What a reader may bring: 2-D convolutions, BatchNorm, a skip connection."""

    def __init__(self):
        super().__init__()
        self.stem = nn.Conv2d(3, 4, 3, padding=1, bias=False)
        self.norm = nn.BatchNorm2d(4)
        self.body = nn.Sequential(nn.Conv2d(4, 4, 3, padding=1), nn.BatchNorm2d(4), nn.ReLU())
        self.head = nn.Linear(4, 3)

    def forward(self, x):
        x = torch.relu(self.norm(self.stem(x)))
        return self.head((x + self.body(x)).mean((2, 3)))


@pytest.fixture(scope="session")
def picture():
    """The class of a wrapped 2-D network for ``pictures``."""
    return Picture


@pytest.fixture(scope="session")
def config():
    """Three prunings of a short training from three rewind steps, two replicates each."""
    recipe = training.Recipe(steps=30, batch_size=16, lr=0.1, momentum=0.9, weight_decay=1e-3)
    return imp.Config(recipe=recipe, rewind_step=(0, 5, 12), levels=3, fraction=0.3, replicates=2, seed=3)


@pytest.fixture(scope="session")
def small_run(net, ds, config):
    """The IMP run of ``config``, never interrupted, without a checkpoint."""
    return imp.run(net, ds, config)


@pytest.fixture
def folders(tmp_path, monkeypatch):
    """Keep records and runs out of the real folders; gives (records, runs)."""
    published, runs = tmp_path / "records", tmp_path / "runs"
    monkeypatch.setattr(records, "PUBLISHED", published)
    monkeypatch.setenv("LOTTERYLIB_RUNS", str(runs))
    experiment._setup.cache_clear()
    yield published, runs
    experiment._setup.cache_clear()
