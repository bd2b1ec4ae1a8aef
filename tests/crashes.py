"""Processes that are killed at random moments: the work that they do, how they are started, and what is left of it."""

import contextlib
import dataclasses
import functools
import json
import multiprocessing
import multiprocessing.forkserver
import os
import random
import signal
import subprocess
import time
import warnings
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import load

from lotterybook import __main__ as command
from lotterybook import experiment, presets, records
from lotterylib import data, imp, networks, order, store, training

ROOT = Path(__file__).resolve().parent.parent
EXPERIMENTS = "winning_tickets", "successive_barriers", "all_pairs"  # of the smaller smoke preset

# The work, each in a folder


def blobs(name="blobs", features=12, classes=3, examples=400):
    """Features of overlapping classes, a quarter of them for testing."""
    rng = np.random.default_rng(0)
    y = np.arange(examples) % classes
    x = (rng.normal(size=(classes, features))[y] + rng.normal(size=(examples, features))).astype(np.float32)
    cut = examples * 3 // 4
    return data.from_arrays(name, x[:cut], y[:cut], x[cut:], y[cut:], device="cpu")


def described():
    """What describes the run that is interrupted: network, dataset, configuration."""
    ds = blobs()
    recipe = training.Recipe(steps=12, batch_size=16, lr=0.1)
    config = imp.Config(recipe, rewind_step=(0, 5), levels=2, fraction=0.3, replicates=2)
    return networks.build("cnn1d", ds, width=4), ds, config


def run(folder):
    """An IMP run that keeps its state every three steps."""
    imp.run(*described(), checkpoint=folder)


def use(folder):
    """Let this process keep its records and runs in a folder."""
    os.environ["LOTTERYLIB_RUNS"], records.PUBLISHED = str(folder / "runs"), folder / "records"


def record(folder, value=1.0, size=300_000):
    """A record, computed and published; another ``value`` is that of other settings."""
    use(folder)
    made = records.load_or_compute(
        "demo", "smoke", {"lr": value}, "data", lambda: ({"error": torch.full((size,), value)}, {})
    )
    records.publish("smoke", {"demo": made}, device="cpu")


def make(folder):
    """``make records PRESET=smoke``, with a shorter run, and three of the experiments."""
    use(folder)
    recipe = training.Recipe(steps=12, batch_size=16, lr=0.1)
    arm = presets.Arm("cnn1d", imp.Config(recipe, (0, 10), levels=1, replicates=1), width=4)
    presets.PRESETS["smoke"] = dataclasses.replace(presets.PRESETS["smoke"], main=arm)
    kept = {name: experiment.EXPERIMENTS[name] for name in EXPERIMENTS}
    command.EXPERIMENTS = experiment.EXPERIMENTS = kept
    data.load = lambda name, device="auto": blobs(name, features=40, classes=10)
    command.main(["--preset", "smoke", "--device", "cpu"])


def hold(folder):
    """Reserve the records of a preset for as long as the process lives."""
    use(folder)
    with records.reserved("smoke", alone=True):
        (folder / "held").touch()
        time.sleep(600)


# Processes


@functools.cache
def server():
    """What forks processes that have all imported already, and no thread: in a second a dozen are born and die."""
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(["crashes", "pytest"])
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("PYTHONPATH", os.pathsep.join(str(folder) for folder in (ROOT, ROOT / "tests")))
        multiprocessing.forkserver.ensure_running()
    return context


def start(work, *arguments):
    """Start a function of this module in a process of its own."""
    process = server().Process(target=_alone, args=(work, *arguments))
    process.start()
    return process


def _alone(work, *arguments):
    os.environ["TQDM_DISABLE"] = "1"
    torch.set_num_threads(1)
    warnings.filterwarnings("error", message=".*(cannot be used|damaged)")  # what is killed leaves nothing damaged
    training.EVERY, order.SPAN["cpu"] = 0, 3  # kept as often as can be
    work(*arguments)


class Command(subprocess.Popen):
    """A command and all that it starts, with the methods of a ``Process``."""

    def __init__(self, arguments, **options):
        pipes = dict.fromkeys(("stdout", "stderr"), subprocess.DEVNULL)
        super().__init__(arguments, start_new_session=True, **pipes, **options)

    def join(self, timeout=None):
        with contextlib.suppress(subprocess.TimeoutExpired):
            self.wait(timeout)

    def kill(self):
        if self.poll() is None:
            os.killpg(self.pid, signal.SIGKILL)

    @property
    def exitcode(self):
        return self.returncode


def seconds(begin):
    """How long what ``begin`` starts takes to its end."""
    since, process = time.monotonic(), begin()
    process.join()
    assert process.exitcode == 0
    return time.monotonic() - since


def kill_and_go_on(begin, moments, longest, seed, left=lambda: [], ended=lambda: []):
    """Start again and again what ``begin`` starts, and kill it ``moments`` times, after up to ``longest`` seconds.

    The last start is left alone. Returns what is wrong: what ``left()`` says after each kill, and ``ended()`` after
    each start that came to its end; each ends the state of things as it likes. A start that fails is wrong too.
    """
    draw, kills, wrong = random.Random(seed), 0, []
    for _ in range(20 * moments + 20):
        last, process = kills == moments, begin()
        process.join(None if last else draw.uniform(0, longest))
        process.kill()
        process.join()
        if process.exitcode == -signal.SIGKILL:
            kills += 1
            wrong += left()
        else:
            wrong += ended() if process.exitcode == 0 else [f"a start after {kills} kills failed"]
            if last:
                return wrong
    raise AssertionError(f"only {kills} of {moments} kills met a process that was at work")


# What is left


def contents(folder):
    """Every file below a folder, by its name, without what says when it was made and how long that took."""
    return {path.relative_to(folder).as_posix(): _told(path) for path in folder.rglob("*") if path.is_file()}


def _told(path):
    content = path.read_bytes()
    if path.name == "manifest.json":
        return sorted(json.loads(content))  # the hashes cover the dates
    if path.name == "made.json":
        about = json.loads(content)
    elif path.suffix == ".safetensors":
        about = json.loads(json.loads(content[8 : 8 + int.from_bytes(content[:8], "little")])["__metadata__"]["about"])
        about["content"] = store.digest(load(content))
    else:
        return content
    return {name: value for name, value in about.items() if name not in ("date", "seconds")}


def damaged(folder):
    """The files below a folder, but for those that are still written, that are not whole."""
    files = [path for path in folder.rglob("*") if path.suffix in (".safetensors", ".seconds")]
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return [f"{path} is damaged" for path in files if not path.name.startswith(".") and not store.read(path)]
