"""Sweeps: what they make is what each job makes by itself, whoever makes it and however often it is interrupted."""

import os
import signal
import subprocess
import sys
from pathlib import Path

import dask
import joblib
import numpy as np
import pytest
import torch
from distributed import Client, LocalCluster

from lotterybook import jobs, records, sweep
from lotterybook.presets import PRESETS
from lotterylib import data, imp, landscape, networks, progress, sgd

ROOT = Path(__file__).resolve().parent.parent
BOTH = ["winning_tickets", "successive_barriers"]


@pytest.fixture
def small(ds, tmp_path, folders):
    """What makes the jobs of a sweep small: settings of the preset ``smoke``, each with one value."""
    path = tmp_path / "blobs.npz"
    np.savez(path, **{name: getattr(ds, name).numpy() for name in ("train_x", "train_y", "test_x", "test_y")})
    return {"dataset": [str(path)], "main.network": ["cnn1d"], "main.width": [4], "main.config.rewind_step": [(0, 10)]}


def refuse(*_, **__):
    raise AssertionError("this should not be called")


def same(found, expected):
    assert found.keys() == expected.keys()
    for job, made in expected.items():
        assert found[job].keys() == made.keys()
        for name, record in made.items():
            assert found[job][name].keys() == record.keys()
            assert all(torch.equal(found[job][name][entry], tensor) for entry, tensor in record.items())


def test_jobs_in_processes_are_runs_by_themselves(small, monkeypatch):
    """Of the library alone, bit for bit; and what a sweep has made, another one reads."""
    over = {**small, "main.network": ["cnn1d", "resnet1d"], "main.config.seed": range(0, 4, 2)}
    found = sweep.run(BOTH, "smoke", over, n_jobs=2)
    assert len(found) == 4
    ds, config = data.load(over["dataset"][0]), PRESETS["smoke"].main.config
    for network in ("cnn1d", "resnet1d"):
        net = networks.build(network, ds, width=4)
        for seed in (0, 2):
            run = imp.run(net, ds, imp.Config(config.recipe, (0, 10), config.levels, replicates=2, seed=seed))
            job = next(job for job in found if network in job and f"seed = {seed}" in job)
            assert torch.equal(found[job]["winning_tickets"]["error"], run.errors)
            line = landscape.error_barrier(net, run[2].state, run[3].state, ds.test_x, ds.test_y, 3).height
            assert torch.equal(found[job]["successive_barriers"]["height"][2].flatten(), line)
    with monkeypatch.context() as patch:
        patch.setattr(sgd.Group, "update", refuse)
        same(sweep.run(BOTH, "smoke", over), found)
    sent, each = [], jobs.each
    monkeypatch.setattr(jobs, "each", lambda *given: sent.append(given) or each(*given))
    more = sweep.run(BOTH, "smoke", {**over, "main.network": ["cnn1d"], "main.config.seed": [0, 2, 4]})
    ((calls, _, sizes),) = sent
    assert [name for name, *_ in calls] == [job for job in more if "seed = 4" in job] and len(more) == 3
    assert sizes == [2 * (40 + 3 * (40 + 30))]  # replicates, level 0, three levels from steps 0 and 10


def test_a_job_that_fails_is_named_and_the_others_finish(small, monkeypatch):
    over = {**small, "main.network": ["cnn1d_plain"], "main.config.recipe.lr": [1e6, 0.1, 2e6]}
    with pytest.raises(
        jobs.Failed, match=r"(?s)failed: 2\..*lr = 1000000\.0: .*Diverged: .*lr = 2000000\.0: "
    ) as caught:
        sweep.run(["winning_tickets"], "smoke", over)
    assert all("Traceback" in text for text in caught.value.failed.values()) and len(caught.value.failed) == 2
    monkeypatch.setattr(sgd.Group, "update", refuse)
    (made,) = sweep.run(["winning_tickets"], "smoke", over | {"main.config.recipe.lr": [0.1]}).values()
    assert made["winning_tickets"]["error"].shape == (4, 2, 2)


WRONG = {
    "experiment is 'winning', which is unknown; .*did you mean 'winning_tickets'": {"experiments": ["winning"]},
    "experiments is 'winning_tickets', a str; it must be a list": {"experiments": "winning_tickets"},
    "experiments is empty; it must hold one or more": {"experiments": []},
    "preset is 'smok', which is unknown": {"preset": "smok"},
    r"over is \[\], a list; it must be a dict": {"over": []},
    "setting is 'netwrk', which is unknown; .*did you mean 'network'": {"main.netwrk": ["cnn1d"]},
    "setting is 'deep', which is unknown; allowed are none": {"main.width.deep": [1]},
    "network is 'resnt1d', which is unknown": {"main.network": ["cnn1d", "resnt1d"]},
    "dataset is 'mnist1', which is unknown": {"dataset": ["mnist1"]},
    "dataset is PosixPath.*; it must be a str": {"dataset": [Path("some.npz")]},
    "dataset is 'mnist1d', a str; it must be a list": {"dataset": "mnist1d"},
    "main.config.seed is empty": {"main.config.seed": []},
    "seed is -1; it must be >= 0": {"main.config.seed": [0, -1]},
    "jobs '.*seed = 0' and '.*seed = 0' would train the same run": {"main.config.seed": [0, 1, 0]},
    "jobs '.*levels = 1' and '.*levels = 2' would train the same run": {"main.config.levels": [1, 2]},
    "jobs '.*points = 3' and '.*points = 5' would train the same run": {"tickets.points": [3, 5]},
    "jobs .* would train the same run": {"main.config.rewind_step": [10, (10,)]},
    "found_masks needs the setting barriers.walk, which is None in": {
        "experiments": ["found_masks"], "barriers.walk": [None],
    },
    "device is 'gpu', which is unknown": {"device": "gpu"},
    "n_jobs is 0; it must be a number of processes": {"n_jobs": 0},
    "n_jobs is 1.5; it must be a whole number": {"n_jobs": 1.5},
}  # fmt: skip


@pytest.mark.parametrize("message", WRONG)
def test_bad_input_is_told_before_anything_is_trained(small, monkeypatch, message):
    monkeypatch.setattr(sgd.Group, "update", refuse)
    given = {"experiments": BOTH, "preset": "smoke", "over": small, **WRONG[message]}
    swept = {name: given.pop(name) for name in [*given] if name == "dataset" or "." in name}
    if swept:
        given["over"] = small | swept
    with pytest.raises(ValueError, match=message):
        sweep.run(**given)


def test_a_folder_that_cannot_be_written_is_told_before_anything_is_trained(small, tmp_path, monkeypatch):
    (tmp_path / "file").write_text("no folder")
    monkeypatch.setenv("LOTTERYLIB_RUNS", str(tmp_path / "file"))
    monkeypatch.setattr(sgd.Group, "update", refuse)
    with pytest.raises(ValueError, match=r"file/sweep/.*sweeps, a folder that must be writable"):
        sweep.run(BOTH, "smoke", small)


def test_a_worker_with_other_code_or_data_is_refused(small, ds):
    shared = sweep._jobs(BOTH, "smoke", PRESETS["smoke"], {"dataset": small["dataset"]}, "cpu")
    ((job, (shared, _)),) = shared.items()
    with pytest.raises(ValueError, match=r"the worker has other code, .*; it must be that of the sweep, 0\.0\+old"):
        sweep._make(BOTH, shared, "0.0+old", shared.ds.digest)
    with pytest.raises(ValueError, match="the worker has other data, .*; it must be that of the sweep, 0123"):
        sweep._make(BOTH, shared, records.VERSION, "0123")
    with pytest.raises(FileNotFoundError, match=f"{job}: no record of winning_tickets is in .*all workers must see"):
        sweep._read(job, "winning_tickets", shared)


def test_calls_are_told_apart_by_their_names():
    assert jobs.each([("b", len, "ab"), ("a", len, "a")]) == [2, 1] and jobs.each([]) == []
    with pytest.raises(ValueError, match="two jobs have the name 'a'; each must have its own"):
        jobs.each([("a", refuse), ("b", refuse), ("a", refuse)])


def test_the_bar_counts_what_the_calls_are_worth(monkeypatch):
    monkeypatch.delenv("TQDM_DISABLE", raising=False)
    bars, bar = [], progress.bar
    monkeypatch.setattr(progress, "bar", lambda **options: bars.append(bar(**options)) or bars[-1])
    jobs.each([("a", len, "a"), ("b", len, "b")], sizes=[1, 3])
    assert (bars[0].total, bars[0].n) == (4, 4)


KILL = """
import os, signal
from lotterylib import store
def write_or_die(path, content, write=store.write_bytes):  # bound here: Dask may run this twice
    if "level_01" in str(path):
        os.kill(os.getpid(), signal.SIGKILL)
    write(path, content)
store.write_bytes = write_or_die
"""  # in a worker before it begins: it trains level 0, and level 1 to the end


def test_a_killed_worker_of_a_cluster_costs_no_bit(small, tmp_path, monkeypatch):
    """A real scheduler and two processes; the other one goes on from the dense network that the killed one left."""
    over = {**small, "main.config.seed": [0, 2, 4]}
    monkeypatch.setenv("LOTTERYLIB_RUNS", str(tmp_path / "serial"))
    serial = sweep.run(BOTH, "smoke", over)
    monkeypatch.setenv("LOTTERYLIB_RUNS", str(tmp_path / "cluster"))
    (tmp_path / "kill.py").write_text(KILL)
    environment = {name: value for name, value in os.environ.items() if name != "LOTTERYLIB_RUNS"}
    options = "--no-nanny", "--no-dashboard", "--nthreads", "1", "--local-directory", str(tmp_path)
    with (
        dask.config.set({"distributed.scheduler.worker-ttl": None}),
        LocalCluster(n_workers=0, dashboard_address=None) as cluster,
        Client(cluster) as client,
    ):
        command = sys.executable, "-m", "dask", "worker", cluster.scheduler_address, *options
        workers = [
            subprocess.Popen([*command, *preload], env={**environment, "PYTHONPATH": str(ROOT)}, cwd=tmp_path)
            for preload in (["--preload", str(tmp_path / "kill.py")], [])
        ]
        try:
            client.wait_for_workers(2, timeout=300)
            with joblib.parallel_config(backend="dask"):
                found = sweep.run(BOTH, "smoke", over)
            assert workers[0].wait(60) == -signal.SIGKILL and workers[1].poll() is None
        finally:
            for worker in workers:
                worker.kill()
                worker.wait()
    same(found, serial)
    paths = [record.path for made in found.values() for record in made.values()]
    assert all(path.is_relative_to(tmp_path / "cluster") for path in paths) and len({*paths}) == 6
