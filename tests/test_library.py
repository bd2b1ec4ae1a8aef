"""The library as a whole: what importing it costs, how its modules build on each other, how much memory it takes."""

import ast
import hashlib
import subprocess
import sys
from pathlib import Path

import pytest
import torch

from lotterylib import checks, order, progress, training

PACKAGE = Path(__file__).resolve().parent.parent / "lotterylib"

# Each module uses only those before it.
LADDER = (
    "checks", "store", "progress", "states", "data", "architectures", "networks", "pruning", "order", "memory", "sgd",
    "training", "imp", "landscape", "limits", "curvature", "perturbation", "magnitudes",
    "records", "presets", "experiments", "findings", "scale", "figures", "notebook",
)  # fmt: skip


def python(code):
    """Run code in a process of its own; return its last line."""
    done = subprocess.run([sys.executable, "-c", code], cwd=PACKAGE.parent, capture_output=True, text=True, timeout=600)
    assert done.returncode == 0, done.stderr
    return done.stdout.strip().splitlines()[-1]


def modules():
    """The modules and folders of the package, by name."""
    return sorted({path.stem for path in PACKAGE.iterdir() if path.suffix == ".py" or (path / "__init__.py").exists()})


def imported(path):
    """The modules of the package that a file imports anywhere in it."""
    inside = len(path.relative_to(PACKAGE).parts)  # dots that lead to the package
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.ImportFrom):
            names = [alias.name for alias in node.names]
            if node.level == inside:
                yield from [node.module.split(".")[0]] if node.module else names
            elif node.level == 0 and (node.module or "").split(".")[0] == "lotterylib":
                yield from node.module.split(".")[1:2] or names
        elif isinstance(node, ast.Import):
            yield from (alias.name.split(".")[1] for alias in node.names if alias.name.startswith("lotterylib."))


@pytest.mark.parametrize("module", [name for name in modules() if name != "__init__"])
def test_no_module_imports_one_above_it(module):
    assert module in LADDER, f"give {module!r} its place in LADDER"
    place = LADDER.index(module)
    files = [PACKAGE / f"{module}.py"] if (PACKAGE / f"{module}.py").exists() else (PACKAGE / module).glob("**/*.py")
    for path in files:
        above = [name for name in imported(path) if name in LADDER and LADDER.index(name) > place]
        assert not above, f"{path.name} imports {above}"
    assert set(LADDER) >= set(modules()) - {"__init__"}


def test_the_ladder_is_really_read():
    """The test above finds imports: what the modules are known to use."""
    assert {"checks", "store"} == set(imported(PACKAGE / "data.py"))
    used = {"checks", "progress", "pruning", "sgd", "store", "memory", "states"}
    assert used == set(imported(PACKAGE / "training.py"))


def test_modules_stay_small():
    files = PACKAGE.rglob("*.py")
    lines = {str(path.relative_to(PACKAGE)): len(path.read_text(encoding="utf-8").splitlines()) for path in files}
    assert max(lines.values()) <= 350, lines


def test_importing_loads_nothing_heavy():
    names = [name for name in modules() if name not in ("__init__", "figures")]
    found = python(
        f"import sys\nimport lotterylib\nfrom lotterylib import {', '.join(names)}\n"
        "heavy = ('matplotlib', 'ipywidgets', 'torchvision', 'IPython', 'sklearn', 'mnist1d', 'papermill', 'pandas')\n"
        "print([name for name in heavy if name in sys.modules])"
    )
    assert found == "[]"


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
batch = hashlib.sha256(next(order.batches(ds, recipe, [5], begin=40))[1].numpy().tobytes()).hexdigest()
print(peak() - imported, batch)
"""


def test_sixteen_replicates_fit_into_memory_and_the_order_is_that_of_any_process(mnist1d):
    pytest.importorskip("resource")
    taken, batch = python(MEMORY).split()
    assert int(taken) < 0.5e9, f"{int(taken) / 1e9:.2f} GB"
    y = next(order.batches(mnist1d, training.Recipe(steps=1500), [5], begin=40))[1]
    assert hashlib.sha256(y.numpy().tobytes()).hexdigest() == batch


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
