"""Some minutes on a lent GPU: tests, probes, step times, and as much of a paper-scale experiment as the time allows.

    python benchmarks/gpu_run.py --out OUT --data FOLDER --run RUN --seconds 560

Each part is a process of its own, is stopped when its share of the time is over, and writes what it finds at once: no
failure costs more than its own part. OUT receives at most eight files: tests.txt, probes.json, timing.json,
results.json, and the folder RUN in parts run.tar.00, ... of 15 MiB.

The experiment is IMP as the preset ``lent`` has it: ResNet-20 on the lossy copy of CIFAR-10, cifar10_jpeg75.npz in
FOLDER, which may still be in the making. It goes on from what lies in RUN, or from the parts of an earlier lease
(--resume run.tar.*). A first run takes the fastest of the ways that were timed, and a length that ends within --total
seconds; later blocks, with another --seed, take that plan over (--plan results.json), and ``python -m
lotterybook.scale.blocks`` joins their results into one record. --parts experiment: no tests, no times.
"""

import argparse
import contextlib
import hashlib
import io
import json
import os
import shutil
import signal
import subprocess
import sys
import tarfile
import time
from dataclasses import replace
from pathlib import Path

import torch

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT))
import common  # noqa: E402
import gpu_times  # noqa: E402

from lotterybook.presets import PRESETS  # noqa: E402
from lotterylib import data, imp, landscape, networks, pruning, store, training  # noqa: E402
from lotterylib.states import concatenate, select  # noqa: E402

LIMITS = {"tests": 80, "probes": 40, "timing": 90}  # seconds of the parts that need CUDA
RESERVE = 25  # seconds kept for what comes after the experiment
PART, PARTS = 15 * 2**20, 4  # bytes of a packed part, and how many
LENT = PRESETS["lent"]
UNTIMED = "bfloat16", "stacked", 849  # precision, way, replicate-steps a second: of an H200, where nothing was timed
EPOCHS = 30, 20, 15, 10  # lengths that a plan may have; with fewer, pruned networks are better than the dense one
LOSSY = "a lossy copy of CIFAR-10 (JPEG, quality 75): errors do not compare with published ones"
INSTABILITY = 8  # the level after which the instability is measured
OTHER = 1000  # added to a seed for another data order
ENVIRONMENT = {"TQDM_DISABLE": "1", "PYTHONUNBUFFERED": "1", "PYTEST_DISABLE_PLUGIN_AUTOLOAD": "1"}  # of every part


def write_json(path, value):
    """Write a JSON file that is whole at any moment."""
    store.write_bytes(path, json.dumps(value, indent=1).encode() + b"\n")


def revision() -> str:
    """Hash of the library's sources: the machine has no git."""
    content = b"".join(path.read_bytes() for path in sorted((ROOT / "lotterylib").glob("*.py")))
    return hashlib.sha256(content).hexdigest()[:16]


# --- the experiment ---------------------------------------------------------------------------------------------------


def plan(options) -> dict:
    """What this run computes: as it was planned before, as ``--plan`` says, or as the measured times allow."""
    known = options.run / "plan.json"
    if known.exists():
        return json.loads(known.read_text())
    if options.plan:
        chosen = json.loads(options.plan.read_text())["plan"] | {"seed": options.seed}
    else:
        timed, config = options.timing or options.out / "timing.json", LENT.main.config
        found = json.loads(timed.read_text())["found"] if timed.exists() else {}
        precision, way, rate = gpu_times.fastest(found) or UNTIMED
        if options.device == "cpu":
            precision, way = "float32", "graphs"
        levels = config.levels if options.levels is None else options.levels
        steps = options.steps or length(config, levels, rate, options.total)
        chosen = {
            "network": options.network or LENT.main.network, "width": options.width, "precision": precision, "way": way,
            "batch_size": 16 if options.quick else config.recipe.batch_size, "steps": steps,
            "rewind_step": list(dict.fromkeys(min(k, steps // 3) for k in config.rewind_step)),
            "fraction": config.fraction, "levels": levels, "replicates": config.replicates, "seed": options.seed,
            "points": options.points or LENT.tickets.points,
        }  # fmt: skip
    write_json(known, chosen)
    return chosen


def length(config, levels, rate, seconds) -> int:
    """Steps of a training, of the longest of ``EPOCHS`` with which the whole experiment ends within these seconds."""
    for steps in (390 * epochs for epochs in EPOCHS):
        longer = replace(config, recipe=replace(config.recipe, steps=steps))
        work = sum(longer.steps_of(level) for level in range(levels + 1))
        work += config.replicates * sum(steps - k for k in LENT.tickets.instability_steps)
        if work <= rate * (seconds - 4 * levels):  # four seconds a level for its barriers
            break
    return steps


def load(options):
    """The lossy copy of CIFAR-10, as soon as it is there."""
    path, end = options.data / "cifar10_jpeg75.npz", time.monotonic() + 180
    while not path.exists():  # it appears when it is whole
        if time.monotonic() > end:
            raise SystemExit(f"{path} is not there, and did not come in three minutes")
        time.sleep(0.5)
    os.environ["LOTTERYLIB_DATA"] = str(options.data)
    return data.load("cifar10_jpeg75", options.device)


def experiment(options):
    """IMP level by level, what each gives in results.json at once; then the instability, and barriers recalibrated."""
    begin, chosen, ds = time.monotonic(), plan(options), load(options)
    print("  plan:", chosen, f"on {ds.name}", flush=True)
    net = networks.build(chosen["network"], ds, **({"width": chosen["width"]} if chosen["width"] else {}))
    net = gpu_times.as_told(net, chosen["way"])
    recipe = replace(LENT.main.config.recipe, **{name: chosen[name] for name in ("steps", "batch_size", "precision")})
    same = ("rewind_step", "levels", "fraction", "replicates", "seed")
    config = imp.Config(recipe, **{name: chosen[name] for name in same})
    kept, points = options.run / "results.json", chosen["points"]
    results = json.loads(kept.read_text()) if kept.exists() else {"sessions": [], "levels": []}
    card = torch.cuda.get_device_name() if options.device == "cuda" else "cpu"
    results["sessions"].append({"device": card, "machine": common.machine(), "library": revision()})
    results |= {"plan": chosen, "data": ds.name, "lossy": LOSSY, "digest": ds.digest, "recipe": store.plain(recipe)}
    rows = results["levels"]

    def save():
        results["sessions"][-1]["seconds"] = round(time.monotonic() - begin)
        for path in (kept, options.out / "results.json"):
            write_json(path, results)

    def measured(run):
        """Add the last level of a run to the results, unless it is among them."""
        level, here = len(run) - 1, run[-1]
        if level < len(rows) and rows[level]["error"] == here.error.tolist():
            return
        if level == 0:  # nothing is left of what other code measured
            results.pop("instability", None)
        rows[level:] = [{"density": here.density, "error": here.error.tolist()}]
        if level:
            before = run[-2].state
            back = landscape.error_barrier(net, here.state, before, ds.test_x, ds.test_y, points)
            projected = landscape.error(net, pruning.apply(before, here.mask), ds.test_x, ds.test_y)
            rows[level] |= {"barrier": back.height.tolist(), "curve": back.curve.tolist()}
            rows[level] |= {"projection": projected.tolist()}
        save()
        told = {name: [f"{100 * v:.2f}" for v in rows[level].get(name, ())] for name in ("error", "barrier")}
        print(f"  level {level}, {100 * here.density:.1f} %: {told} ({time.monotonic() - begin:.0f} s)", flush=True)

    def unstable(run):
        """Add the instability to the results, unless it is among them."""
        if "instability" not in results:
            results["instability"] = instability(net, ds, config, options.run / "instability", run[0].state, points)
            shutil.rmtree(options.run / "instability", ignore_errors=True)  # its states are not needed any more
            save()
            height = results["instability"]["height"]
            print(f"  instability: {height} ({time.monotonic() - begin:.0f} s)", flush=True)

    save()
    try:
        for run in imp.levels(net, ds, config, checkpoint=options.run):
            measured(run)
            if len(run) - 1 == INSTABILITY:
                unstable(run)
    except training.Diverged as stopped:
        run, results["stopped"] = stopped.run, str(stopped)
        measured(run)
    unstable(run)
    some = replace(ds, train_x=ds.train_x[:5000], train_y=ds.train_y[:5000])

    def error(state):
        return landscape.error(net, landscape.recalibrate(net, state, some), ds.test_x, ds.test_y)

    for level in range(1, len(run)):
        if "recalibrated" not in rows[level]:
            back = landscape.barrier(error, run[level].state, run[level - 1].state, points)
            rows[level]["recalibrated"] = {"barrier": back.height.tolist(), "curve": back.curve.tolist()}
            save()


def instability(net, ds, config, folder, dense, points):
    """Error barriers between the dense solutions and trainings in another order from ``w_k`` on: ``(k, R)``."""
    count, recipe = config.replicates, config.recipe
    seeds = [config.seed + r for r in range(count)]
    steps = [k for k in LENT.tickets.instability_steps if k < recipe.steps]
    early = training.trajectory(net, net.init(count, config.seed), ds, recipe, None, 0, max(steps), seeds, steps)
    starts = concatenate([point.state for point in early])
    first, others = [k for k in steps for _ in seeds], [seed + OTHER for seed in seeds] * len(steps)
    ends = training.train(net, starts, ds, recipe, None, first, None, others, folder)
    dense = concatenate([select(dense, list(range(count)))] * len(steps))
    back = landscape.error_barrier(net, ends, dense, ds.test_x, ds.test_y, points)
    shape = (len(steps), count)
    return {"k": steps, "height": back.height.view(shape).tolist(), "curve": back.curve.unflatten(1, shape).tolist()}


# --- the command ------------------------------------------------------------------------------------------------------


def limited(name, command, limit, begun, **where):
    """Run a command for at most so many seconds, then ask it to stop, as Ctrl-C does; kill it if it does not.

    ``begun``: when all began, for the report. ``where``: what ``subprocess.Popen`` is told besides.
    """
    begin, verdict = time.monotonic(), "stopped by its time limit"
    child = subprocess.Popen(command, env={**os.environ, **ENVIRONMENT}, **where)
    try:
        code = child.wait(max(1, limit))
        verdict = f"ended with exit status {code}" if code else "done"
    except subprocess.TimeoutExpired:
        pass
    finally:
        for message in (signal.SIGINT, signal.SIGINT, signal.SIGINT, signal.SIGKILL):
            if child.poll() is None:
                child.send_signal(message)
                with contextlib.suppress(subprocess.TimeoutExpired):
                    child.wait(4)
    now = time.monotonic()
    print(f"== {name}: {verdict}, {now - begin:.0f} s (at {now - begun:.0f} s)", flush=True)


def tests(options, begun, limit):
    """The tests that need CUDA; the end of what they say is printed."""
    path = options.out / "tests.txt"
    command = [sys.executable, "-m", "pytest", "-v", "--no-header", "-p", "no:cacheprovider", "--durations=5"]
    chosen = ["-k", options.tests] if options.tests else []
    with path.open("w") as log:
        limited("tests", [*command, *chosen, "tests/test_cuda.py"], limit, begun, cwd=ROOT, stdout=log, stderr=log)
    print(path.read_text()[-1500:], flush=True)


def pack(run, out):
    """Put the run's folder into parts; what would not fit, the largest last, is left out and named."""
    names = [path for path in run.rglob("*") if path.is_file() and not path.name.startswith(".")]
    whole = io.BytesIO()
    with tarfile.open(fileobj=whole, mode="w") as tar:
        for path in sorted(names, key=lambda path: (len(path.relative_to(run).parts), path)):
            if whole.tell() + path.stat().st_size > PARTS * PART - 2**16:
                print(f"  left out, no room: {path.relative_to(run)}")
                continue
            tar.add(path, path.relative_to(run))
    content = whole.getvalue()
    for old in out.glob("run.tar.*"):
        old.unlink()
    for i in range(0, len(content), PART):
        store.write_bytes(out / f"run.tar.{i // PART:02d}", content[i : i + PART])
    print(f"== packing: {len(content) / 2**20:.1f} MiB in {-(-len(content) // PART)} parts", flush=True)


def unpack(parts, run):
    """Take up the packed folder of an earlier lease, unless a run is there."""
    if parts and not (run / "plan.json").exists():
        content = b"".join(path.read_bytes() for path in sorted(parts))
        with tarfile.open(fileobj=io.BytesIO(content)) as tar:
            tar.extractall(run, filter="data")


def arguments(given):
    """The options."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--out", type=Path, required=True, help="receives what is found")
    parser.add_argument("--data", type=Path, required=True, help="holds cifar10_jpeg75.npz, now or soon")
    parser.add_argument("--run", type=Path, required=True, help="the experiment's folder")
    parser.add_argument("--resume", type=Path, nargs="+", default=[], help="parts run.tar.* of an earlier lease")
    parser.add_argument("--plan", type=Path, help="results.json of an earlier block, whose plan is taken over")
    parser.add_argument("--parts", nargs="+", choices=(*LIMITS, "experiment"), default=(*LIMITS, "experiment"))
    parser.add_argument("--limit", nargs="+", default=[], metavar="PART=SECONDS", help=f"instead of {LIMITS}")
    parser.add_argument("--tests", help="which of the tests, as pytest's -k says it")
    parser.add_argument("--seconds", type=float, default=560, help="for everything")
    parser.add_argument("--seed", type=int, default=0, help="blocks of two replicates: 0, 2, 4, ...")
    parser.add_argument("--steps", type=int, help="of one training, instead of what the measured rate allows")
    parser.add_argument("--timing", type=Path, help="timing.json of an earlier lease, for the plan of a first run")
    parser.add_argument("--total", type=float, default=760, help="seconds of all leases together, for that plan")
    parser.add_argument("--levels", type=int, help="for a trial, as the next three; by default the preset's")
    parser.add_argument("--points", type=int, help="of an error barrier")
    parser.add_argument("--network")
    parser.add_argument("--width", type=int, help="channels of the first stage")
    parser.add_argument("--device", choices=("cuda", "cpu"), default="cuda", help="cpu: for a trial")
    parser.add_argument("--quick", action="store_true", help="small batches and few graphs, for a trial")
    parser.add_argument("--within", action="store_true", help=argparse.SUPPRESS)  # the process of the experiment
    options = parser.parse_args(given)
    for name in ("out", "data", "run"):
        setattr(options, name, getattr(options, name).resolve())
    options.limit = LIMITS | {part: float(seconds) for part, seconds in (word.split("=") for word in options.limit)}
    return options


def main(given=None):
    """Run all parts, each in a process of its own, or, as such a process, the experiment."""
    given = sys.argv[1:] if given is None else given
    options, begun = arguments(given), time.monotonic()
    if options.within:
        experiment(options)
        return
    if options.device == "cuda" and not torch.cuda.is_available():
        raise SystemExit("gpu_run.py needs a CUDA device, and torch sees none here; a trial without one: --device cpu")
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))  # so that the part at work is stopped too
    signal.signal(signal.SIGINT, signal.default_int_handler)  # ignored by what a shell starts behind itself
    options.out.mkdir(parents=True, exist_ok=True)
    unpack(options.resume, options.run)
    if options.device == "cuda":
        print(f"torch {torch.__version__}, {torch.cuda.get_device_name()}, lotterylib {revision()}", flush=True)
    for name in dict.fromkeys(options.parts):
        left = options.seconds - (time.monotonic() - begun) - RESERVE
        limit = min(options.limit.get(name, left), left)
        if name in LIMITS and options.device == "cpu":
            print(f"== {name}: needs a CUDA device, skipped", flush=True)
        elif limit < 10:
            print(f"== {name}: no time is left, skipped", flush=True)
        elif name == "tests":
            tests(options, begun, limit)
        elif name in LIMITS:
            command = [sys.executable, str(ROOT / "benchmarks" / "gpu_times.py"), str(options.out), name]
            limited(name, command + ["--quick"] * options.quick, limit, begun)
        else:
            limited(name, [sys.executable, __file__, *given, "--within"], limit, begun)
    if options.run.exists():
        pack(options.run, options.out)


if __name__ == "__main__":
    try:
        main()
    except KeyboardInterrupt:
        raise SystemExit(130) from None
