"""The command for a lent GPU, tried to its end on the CPU; its other training steps compute what the library's do."""

import json
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
import torch
from elsewhere import Graph, machine
from torch.testing import assert_close

from lotterylib import networks, pruning, training
from lotterylib.states import select

BENCHMARKS = Path(__file__).resolve().parent.parent / "benchmarks"
SIZES = {"--network": "resnet8", "--width": 4, "--steps": 40, "--levels": 2, "--points": 3, "--device": "cpu"}
TRIAL = [str(word) for pair in SIZES.items() for word in pair] + ["--quick"]


@pytest.fixture
def benchmarks(monkeypatch):
    """Makes the scripts importable."""
    monkeypatch.syspath_prepend(str(BENCHMARKS))


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """A small data set where the lossy copy of CIFAR-10 would be."""
    folder, rng = tmp_path_factory.mktemp("data"), np.random.default_rng(0)
    y = np.arange(360) % 3
    x = (rng.integers(0, 100, (360, 8, 8, 3)) + 20 * np.eye(3, dtype=int)[y][:, None, None]).astype(np.uint8)
    np.savez(folder / "cifar10_jpeg75.npz", train_x=x[:240], train_y=y[:240], test_x=x[240:], test_y=y[240:])
    return folder


def command(folder, path):
    return ["--out", str(path / "out"), "--data", str(folder), "--run", str(path / "run"), *TRIAL]


def measured(path):
    results = json.loads(path.read_text())
    return {name: results[name] for name in ("levels", "instability", "plan", "data", "recipe")}


def test_a_killed_run_continues_to_the_same_numbers(folder, tmp_path, benchmarks):
    """Also where it was started in the background by a shell: interrupts are ignored there, unless it asks for them."""
    import gpu_run

    def in_the_background():
        signal.signal(signal.SIGINT, signal.SIG_IGN)

    script, calls = [sys.executable, str(BENCHMARKS / "gpu_run.py")], []
    killed, whole, packed = (tmp_path / name for name in ("killed", "whole", "packed"))
    with subprocess.Popen([*script, *command(folder, killed)], preexec_fn=in_the_background) as child:
        kept, end = killed / "run" / "results.json", time.monotonic() + 120
        while not kept.exists() and time.monotonic() < end and child.poll() is None:
            time.sleep(0.01)
        child.send_signal(signal.SIGTERM)
    assert child.returncode == 143 and len(json.loads(kept.read_text())["levels"]) < 3
    assert not list((killed / "out").glob("run.tar.*"))
    done = subprocess.run([*script, *command(folder, killed)], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    for name in gpu_run.LIMITS:
        assert f"== {name}: needs a CUDA device, skipped" in done.stdout
    assert "== experiment: done" in done.stdout and "== packing:" in done.stdout

    (whole / "out").mkdir(parents=True)
    gpu_run.main([*command(folder, whole), "--within"])
    found = measured(whole / "out" / "results.json")
    assert found == measured(killed / "out" / "results.json") == measured(kept)
    assert len(json.loads(kept.read_text())["sessions"]) == 2
    assert [len(row["error"]) for row in found["levels"]] == [4, 4, 4]
    assert all({"barrier", "curve", "projection", "recalibrated"} < set(row) for row in found["levels"][1:])
    assert np.shape(found["instability"]["height"]) == (1, 2) and found["plan"]["rewind_step"] == [0, 13]

    parts = [str(path) for path in (killed / "out").glob("run.tar.*")]  # a later lease: all is there already
    gpu_run.unpack([Path(part) for part in parts], packed / "run")
    before = {path.name for path in (packed / "run").rglob("*.safetensors")}
    assert {"level_00.safetensors", "level_02.safetensors", "rewind_13.safetensors"} <= before
    (packed / "out").mkdir()
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(training, "trajectory", lambda *arguments: calls.append(arguments))
        gpu_run.main([*command(folder, packed), "--within"])
    assert measured(packed / "out" / "results.json") == found and not calls


@pytest.mark.parametrize("way", ["graphs", "stacked"])
def test_it_runs_to_its_end_on_a_pretended_gpu(folder, tmp_path, benchmarks, way, monkeypatch):
    """In each of the ways that it may choose: the precision is half, and stacked convolutions are of groups."""
    import gpu_run
    import gpu_times

    rates = {f"library, bfloat16, 4 {other}": 1000 + (other == way) for other in gpu_times.WAYS}
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / "timing.json").write_text(json.dumps({"found": rates | {"library, float16, 4 graphs": 1001}}))
    widths, replay = [], Graph.replay
    monkeypatch.setattr(Graph, "replay", lambda graph: (widths.append(graph), replay(graph)))
    options = command(folder, tmp_path)
    options[options.index("cpu")] = "cuda"
    with machine("cuda"):
        gpu_run.main([*options, "--within"])
    found = json.loads((tmp_path / "out" / "results.json").read_text())
    assert found["plan"]["way"] == way and found["recipe"]["precision"] == "bfloat16"
    assert len(found["levels"]) == 3 and found["instability"]["k"] == [0]
    assert found["sessions"][0]["device"] == "a pretended device"
    # two dense replicates, whose graphs are kept for all levels; two that begin later; two of the instability
    assert len(set(map(id, widths))) == (2 + 2 + 2 if way == "graphs" else 3)


def test_the_plan_is_as_long_as_the_time_allows(benchmarks):
    """Half a million steps of 20 epochs at 1,000 a second are done in 760 seconds, three quarters of one of 30 not."""
    import gpu_run

    config = gpu_run.LENT.main.config
    assert [gpu_run.length(config, 14, rate, 760) / 390 for rate in (300, 900, 1500)] == [10, 20, 30]
    assert gpu_run.length(config, 14, 900, 10000) == 30 * 390


def test_a_part_has_the_limit_that_is_asked_for(benchmarks, folder, tmp_path):
    import gpu_run

    options = gpu_run.arguments([*command(folder, tmp_path), "--limit", "tests=20", "timing=35.5"])
    assert options.limit == {**gpu_run.LIMITS, "tests": 20, "timing": 35.5} and gpu_run.LIMITS["tests"] == 80


def test_the_fastest_way_is_taken(benchmarks):
    import gpu_times

    found = {"library, bfloat16, 4 graphs": 800, "library, float16, 4 stacked": 850, "wide, float16, 4 replicates": 990}
    assert gpu_times.fastest(found) == ("bfloat16", "graphs", 800)  # float16 must be worth its risk
    assert gpu_times.fastest(found | {"library, bfloat16, 4 stacked": 840})[1] == "stacked"
    assert gpu_times.fastest(found | {"library, float16, 4 stacked": 900}) == ("float16", "stacked", 900)
    assert gpu_times.fastest({"library, float16, 4 stacked": "RuntimeError: no engine"}) is None


def test_a_later_block_takes_the_plan_over(folder, tmp_path, benchmarks):
    import gpu_run

    (tmp_path / "timing.json").write_text(json.dumps({"found": {
        "library, bfloat16, 4 graphs": "RuntimeError: no engine", "library, bfloat16, 4 stacked": 900,
    }}))  # fmt: skip
    base = ["--out", str(tmp_path), "--data", str(folder), "--run"]
    first = gpu_run.plan(gpu_run.arguments([*base, str(tmp_path / "a")]))
    assert (first["precision"], first["way"]) == ("bfloat16", "stacked")
    assert (first["steps"], first["rewind_step"], first["levels"]) == (7800, [0, 1000], 14)
    (tmp_path / "results.json").write_text(json.dumps({"plan": first}))
    second = [*base, str(tmp_path / "b"), "--seed", "2", "--steps", "5", "--plan", str(tmp_path / "results.json")]
    assert gpu_run.plan(gpu_run.arguments(second)) == {**first, "seed": 2}
    assert gpu_run.plan(gpu_run.arguments(second[:-2])) == {**first, "seed": 2}  # as it was planned before


@pytest.mark.parametrize("stubborn", [False, True])
def test_a_part_ends_with_its_time(benchmarks, capfd, stubborn, monkeypatch):
    """It is asked to stop, and can tidy up; one that does not listen is killed."""
    import gpu_run

    wait = subprocess.Popen.wait
    monkeypatch.setattr(subprocess.Popen, "wait", lambda child, patience=None: wait(child, patience and patience / 4))
    tidy = "pass" if stubborn else "print('tidied up'); raise SystemExit"
    code = f"import time\nwhile True:\n try: time.sleep(60)\n except KeyboardInterrupt: {tidy}"
    begun = time.monotonic()
    gpu_run.limited("waiting", [sys.executable, "-c", code], 8, begun)
    said = capfd.readouterr().out
    assert "== waiting: stopped by its time limit" in said and ("tidied up" in said) == (not stubborn)


def test_a_machine_without_cuda_is_told(folder, tmp_path, benchmarks):
    import gpu_run

    if torch.cuda.is_available():
        pytest.skip("there is one")
    with pytest.raises(SystemExit, match="needs a CUDA device, and torch sees none here.*--device cpu"):
        gpu_run.main(["--out", str(tmp_path), "--data", str(folder), "--run", str(tmp_path / "run")])


@pytest.mark.parametrize("count", [1, 3])
def test_lean_and_wide_steps_are_the_librarys(pictures, benchmarks, count):
    """Twelve steps in float32: the same order and views, masks, BatchNorm, and a network for each replicate or one."""
    import wide

    net = networks.build("resnet8", pictures, width=4)
    recipe = training.Recipe(100, 16, lr=0.02, schedule="constant", momentum=0.9, weight_decay=1e-3)
    state, seeds = net.init(count, seed=1), [5, 6, 7][:count]
    mask = pruning.random(state, pruning.full(net, state), 0.5, seed=2)
    state = pruning.apply(state, mask)
    step = wide.Lean(net, pictures, recipe, seeds, state, mask, torch.float32, rows=5)
    for _ in range(5):
        step.update()
    expected = training.train(net, state, pictures, recipe, mask, stop=5, order_seed=seeds)
    for name, weights in zip(step.names, step.master, strict=True):
        assert_close(weights.reshape(expected[name].shape), expected[name], rtol=1e-4, atol=1e-5)
    for name, tensor in step.module.named_buffers():
        assert_close(tensor.reshape(expected[name].shape), expected[name], rtol=1e-4, atol=1e-5)


def test_the_lean_step_in_float16_takes_its_scale_back(pictures, benchmarks):
    import wide

    net = networks.build("resnet8", pictures, width=4)
    recipe = training.Recipe(100, 16, lr=0.02, schedule="constant", momentum=0.9)
    state = net.init(1, seed=1)
    steps = [
        wide.Lean(net, pictures, recipe, [5], select(state, [0]), pruning.full(net, state), dtype, rows=5)
        for dtype in (torch.float32, torch.float16)
    ]
    for step in steps:
        step.update()
    for name, one, two, begin in zip(steps[0].names, *(step.master for step in steps), state.values(), strict=False):
        assert_close(one, two, rtol=0.05, atol=1e-3, msg=lambda text, name=name: f"{name}: {text}")
        assert not torch.equal(one, begin[0])
