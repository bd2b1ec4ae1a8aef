"""Library and book as a whole: how their modules build on each other, what importing costs and what memory it takes."""

import ast
import hashlib
import re
import subprocess
import sys
from pathlib import Path

import pytest
import torch

from lotterylib import checks, order, progress, training

ROOT = Path(__file__).resolve().parent.parent

# Each module uses only those before it; in the book, a room's modules also those of the rooms before.
LADDER = (
    "checks", "store", "progress", "states", "threads", "data", "architectures", "trial", "networks", "pruning",
    "order", "memory", "sgd",
    "training", "imp", "landscape", "limits", "curvature", "perturbation", "scores",
)  # fmt: skip
ROOMS = ("tickets", "barriers", "robustness", "limits", "retraining", "diet", "scale", "synthesis")
ROOM = (
    "adaptive", "wells", "measures", "magnitudes", "weight_changes", "displacements", "lines", "others", "walks",
    "matching", "shapes", "cases",
    "blocks", "examples", "ranks", "starts", "experiments", "costs", "halves", "readings", "rules", "sentences",
    "middle", "stability", "findings", "figures", "maps", "tables", "subspaces",
)  # fmt: skip
BOOK_LADDER = (
    "settings", "presets", "records", "experiment", "jobs", "verdicts", "plotted", "narrow", "captions", "style",
    "panes", "explorable", *ROOMS, "table", "claims", "sweep", "editor", "overview", "build", "exercises", "student",
)  # fmt: skip
NEEDED = {"torch", "numpy", "safetensors", "tqdm"}
OPTIONAL = {"data": {"torchvision", "mnist1d"}}  # inside functions, for some datasets


def python(code):
    """Run code in a process of its own; return its last line."""
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, timeout=600)
    assert done.returncode == 0, done.stderr
    return done.stdout.strip().splitlines()[-1]


def files(package):
    """The modules of a package by name, ``tickets.figures`` for one inside a room."""
    paths = (ROOT / package).rglob("[!_]*.py")
    return {".".join(path.relative_to(ROOT / package).with_suffix("").parts): path for path in paths}


def imported(path):
    """The full names of all modules that a file imports anywhere in it, and whether it does so in a function."""
    tree = ast.parse(path.read_text(encoding="utf-8"))
    inside = {id(node) for top in ast.walk(tree) if isinstance(top, ast.FunctionDef) for node in ast.walk(top)}
    place = path.relative_to(ROOT).parts[:-1]
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            yield from ((alias.name, id(node) in inside) for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            base = ".".join(place[: len(place) + 1 - node.level]) if node.level else ""
            module = ".".join(filter(None, (base, node.module)))
            for alias in node.names:
                full = f"{module}.{alias.name}"
                file = ROOT / full.replace(".", "/")
                is_module = file.with_suffix(".py").exists() or file.is_dir()
                yield full if is_module else module, id(node) in inside


def within(package, path):
    """The modules of a package that a file imports, without the package's name."""
    return {name.removeprefix(f"{package}.") for name, _ in imported(path) if name.startswith(f"{package}.")}


@pytest.mark.parametrize("module", files("lotterylib"))
def test_no_module_of_the_library_imports_one_above_it(module):
    assert module in LADDER, f"give {module!r} its place in LADDER"
    above = LADDER[LADDER.index(module) :]
    assert within("lotterylib", ROOT / "lotterylib" / f"{module}.py").isdisjoint(above)


@pytest.mark.parametrize("module", files("lotterylib"))
def test_the_library_imports_little_and_nothing_of_the_book(module):
    for name, in_function in imported(ROOT / "lotterylib" / f"{module}.py"):
        top = name.partition(".")[0]
        optional = in_function and top in OPTIONAL.get(module, ())
        assert top in NEEDED | {"lotterylib"} | sys.stdlib_module_names or optional, name


WORDS = "preset", "chapter", "record", "figure"


@pytest.mark.parametrize("module", files("lotterylib"))
def test_the_library_knows_nothing_of_the_book(module):
    text = (ROOT / "lotterylib" / f"{module}.py").read_text(encoding="utf-8")
    assert re.findall(rf"\b(?:{'|'.join(WORDS)})s?\b", text, re.IGNORECASE) == []


def steps():
    """The modules of the book in their order, those of a room after it."""
    return [
        name
        for module in BOOK_LADDER
        for name in (module, *(f"{module}.{part}" for part in ROOM if module in ROOMS))
    ]  # fmt: skip


@pytest.mark.parametrize("module", files("lotterybook"))
def test_no_module_of_the_book_imports_one_above_it(module):
    assert module in steps(), f"give {module!r} its place in BOOK_LADDER or ROOM"
    above = steps()[steps().index(module) :]
    room = module.partition(".")[0]  # which is named where something in it is imported by the room's name
    assert (within("lotterybook", files("lotterybook")[module]) - {room}).isdisjoint(above)


def test_every_room_has_its_modules():
    for room in ROOMS:
        parts = {"findings", "figures"} | ({"experiments"} if room != "synthesis" else set())  # which measures nothing
        assert {f"{room}.{part}" for part in parts} <= set(files("lotterybook"))
        assert (ROOT / "lotterybook" / room / "__init__.py").read_text().count("\n") == 1


def test_the_ladders_are_really_read():
    """The tests above find imports: what modules are known to use."""
    assert {"checks", "store"} == within("lotterylib", ROOT / "lotterylib" / "data.py")
    used = {"checks", "progress", "pruning", "sgd", "states", "store", "memory", "data", "networks"}
    assert used == within("lotterylib", ROOT / "lotterylib" / "training.py")
    used = {"style", "verdicts", "panes", "robustness.cases"}
    assert used == within("lotterybook", ROOT / "lotterybook" / "robustness" / "figures.py")
    used = within("lotterybook", ROOT / "lotterybook" / "retraining" / "findings.py")
    assert {"tickets.experiments", "retraining.experiments"} <= used


def test_modules_stay_small():
    paths = [path for package in ("lotterylib", "lotterybook") for path in (ROOT / package).rglob("*.py")]
    lines = {str(path.relative_to(ROOT)): len(path.read_text(encoding="utf-8").splitlines()) for path in paths}
    assert max(lines.values()) <= 350, lines


def test_importing_loads_nothing_heavy():
    """Neither the library nor what makes the book's records and verdicts."""
    code = (
        f"import sys\nfrom lotterylib import {', '.join(LADDER)}\nfrom lotterybook import claims, __main__\n"
        "heavy = ('matplotlib', 'ipywidgets', 'torchvision', 'IPython', 'sklearn', 'mnist1d', 'papermill', 'pandas')\n"
        "print([name for name in heavy if name in sys.modules])"
    )
    assert python(code) == "[]"


MEMORY = """
import resource, sys, hashlib, torch
def peak():
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * (1 if sys.platform == "darwin" else 1024)
torch.set_num_threads(1)
imported = peak()  # a torch with CUDA takes more than a gigabyte by itself
from lotterylib import data, networks, order, training
ds = data.load("mnist1d", device="cpu")
net = networks.build("cnn1d", ds)
state = net.init(16, seed=0)
recipe = training.Recipe(steps=1500, batch_size=128, lr=0.3, weight_decay=5e-4)
state = training.train(net, state, ds, recipe, stop=4)
error = training.evaluate(net, state, ds.test_x, ds.test_y)[1]
assert error.shape == (16,) and (error < 1).all()
indices = hashlib.sha256(order.epoch_order(ds, recipe, 5, 1)[0].numpy().tobytes()).hexdigest()
print(peak() - imported, indices)
"""


def test_sixteen_replicates_fit_into_memory_and_the_order_is_that_of_any_process(mnist1d):
    pytest.importorskip("resource")
    taken, indices = python(MEMORY).split()
    assert int(taken) < 0.5e9, f"{int(taken) / 1e9:.2f} GB"
    drawn = order.epoch_order(mnist1d, training.Recipe(steps=1500), 5, 1)[0]
    assert hashlib.sha256(drawn.numpy().tobytes()).hexdigest() == indices


def test_a_bar_waits_two_seconds_and_can_be_silenced(monkeypatch, capsys):
    monkeypatch.delenv("TQDM_DISABLE", raising=False)
    with progress.bar(total=2, desc="work") as bar:
        bar.update(1)
        assert capsys.readouterr().err == ""
        bar.start_t -= 10  # it began ten seconds ago
        bar.last_print_t -= 10
        bar.update(1)
        assert "work" in capsys.readouterr().err
    monkeypatch.setenv("TQDM_DISABLE", "1")
    assert list(progress.bar([1, 2])) == [1, 2] and progress.bar(total=3).disable


# The checks that every argument goes through


def test_choice():
    assert checks.choice("x", "a", ["a", "b"]) == "a"
    with pytest.raises(ValueError, match=r"^x is 'zzz', which is unknown; allowed are 'abc', 5$"):
        checks.choice("x", "zzz", ("abc", 5))  # nothing is near
    with pytest.raises(ValueError, match="did you mean 'abc'"):
        checks.choice("x", "abd", {"abc": 1, "xyz": 2})


@pytest.mark.parametrize(
    ("value", "bounds", "message"),
    [
        (0, {"low": 0}, None),
        (0, {"low": 0, "open_low": True}, "x is 0; it must be > 0"),
        (1, {"low": 0, "high": 1}, None),
        (1, {"low": 0, "high": 1, "open_high": True}, "x is 1; it must be >= 0 and < 1"),
        (2, {"high": 1}, "x is 2; it must be <= 1"),
        (float("nan"), {"low": 0}, "x is nan; it must be >= 0"),
        (float("nan"), {}, "x is nan"),
    ],
)
def test_within(value, bounds, message):
    if message is None:
        assert checks.within("x", value, **bounds) == value
    else:
        with pytest.raises(ValueError, match=f"^{message}"):
            checks.within("x", value, **bounds)


@pytest.mark.parametrize("value", [True, 1.0, "1", None, -1, 6])
def test_whole(value):
    with pytest.raises(ValueError, match="x is "):
        checks.whole("x", value, 0, 5)
    assert checks.whole("x", torch.tensor(5), 0, 5) == 5
