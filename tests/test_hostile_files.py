"""Files that another hand wrote: none crashes a reader, fills the memory, runs, or reaches out of its folder."""

import importlib.util
import json
import re
import subprocess
import sys
import time
import warnings
import zipfile
from pathlib import Path

import fuzz_files
import numpy as np
import pytest
import torch
from drawn import holds
from hypothesis import strategies as st
from soak import tally

from lotterybook import records
from lotterylib import checks, data, imp, store, training

ROOT = Path(__file__).resolve().parent.parent


# Whatever is changed in a file


@pytest.fixture(scope="module", autouse=True)
def targets(tmp_path_factory):
    """The readers that are fuzzed, each with its valid files."""
    kept = records.PUBLISHED
    for name, kind in fuzz_files.TARGETS.items():
        target = kind(tmp_path_factory.mktemp(name))
        TARGETS[name] = target, list(target.seeds())
    yield TARGETS
    records.PUBLISHED = kept


TARGETS = {}


@pytest.mark.parametrize("name", fuzz_files.TARGETS)
def test_the_valid_files_are_of_use(name, targets):
    """Else nothing below would get past the first check; taken apart and joined they are too."""
    target, seeds = targets[name]
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        for seed in seeds:
            assert target.read(seed) and target.read(target.joined(target.parts(seed)))


VALUES = (
    b"\0",
    b"\xff",
    b"-",
    b"9" * 20,
    b"9223372036854775808",
    b"[" * 5000,
    b'"',
    b"{}",
    b"null",
    b"NaN",
    b"../",
    b"O",
)


@holds(
    name=st.sampled_from(list(fuzz_files.TARGETS)), seed=st.integers(0, 9), part=st.integers(0, 9),
    place=st.floats(0, 1), cut=st.integers(0, 8), put=st.sampled_from(VALUES) | st.binary(max_size=4),
)  # fmt: skip
def test_a_changed_file_is_refused_or_of_use(name, seed, part, place, cut, put):
    """Changed in one part, and sealed again: what no checksum tells. ``test_damage.py`` has those that one does."""
    target, seeds = TARGETS[name]
    parts = target.parts(seeds[seed % len(seeds)])
    chosen = sorted(parts)[part % len(parts)]
    content = parts[chosen]
    at = int(place * len(content))
    try:
        content = target.joined({**parts, chosen: content[:at] + put + content[at + cut :]})
    except (ValueError, TypeError, RecursionError):  # its header is no JSON any more
        return
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        target.read(content)


WHAT = {"npz": "A dataset in an `.npz` file", "checkpoint": "A level of an IMP run", "record": "A published record"}


@pytest.mark.soak
@pytest.mark.parametrize("name", fuzz_files.TARGETS)
def test_nothing_is_found_by_following_the_branches(name):
    """Two hundred seconds of atheris for each."""
    if not importlib.util.find_spec("atheris"):
        pytest.skip("atheris is not installed")
    command = [sys.executable, fuzz_files.__file__, name, "-max_total_time=200"]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=900)
    assert done.returncode == 0, done.stderr[-5000:]
    tried = int(re.search(r"number_of_executed_units: (\d+)", done.stderr)[1])
    assert tried > 500
    tally("Written by another hand", what=WHAT[name], tried=f"{tried:,}", crashed_its_reader=0)


# Memory

BOMBS = """
import io, resource, sys, zipfile
sys.path.insert(0, "tests")
import numpy as np, torch
from fuzz_files import Npz, peak
from pathlib import Path
from lotterylib import data
torch.set_num_threads(1)
target = Npz(Path(sys.argv[1]))
parts = target.parts(next(iter(target.seeds())))
resource.setrlimit(resource.RLIMIT_AS, (2**34, resource.RLIM_INFINITY))

def header(shape, kind="<f8"):
    text = "{'descr': %r, 'fortran_order': False, 'shape': %s}" % (kind, shape)
    text = text.ljust(117).encode() + b"\\n"
    return b"\\x93NUMPY\\1\\0" + len(text).to_bytes(2, "little") + text + bytes(64)

def pictures(count, *shape):
    file = io.BytesIO()
    np.savez_compressed(file, train_x=np.zeros((count, *shape), np.uint8), train_y=np.zeros(count, int),
                        test_x=np.zeros((1, *shape), np.uint8), test_y=[0])
    return file.getvalue()

def lying(content):
    file = io.BytesIO(content)
    with zipfile.ZipFile(file, "a", zipfile.ZIP_BZIP2) as archive:
        archive.writestr("name.npy", bytes(2**29))
        archive.getinfo("name.npy").file_size = 200
    return file.getvalue()

bombs = {
    "terabytes": target.joined({**parts, "train_x.npy": header("(1000000000000, 4)")}),
    "half of it there": target.joined({**parts, "train_x.npy": header("(200000000, 4)")}),
    "a wide text": target.joined({**parts, "name.npy": header("()", "<U900000000")}),
    "a billion empty texts": target.joined({**parts, "name.npy": header("(1000000000,)", "|S0")}),
    "a billion empty flags": target.joined({**parts, "augment.npy": header("(1000000000,)", "|V0")}),
    "many channels": pictures(1, 5, 5, 200000),
    "bzip2 that says it is short": lying(target.joined(parts)),
}
for name, content in bombs.items():
    assert len(content) < 50_000, name
    before = peak()
    target.read(content)
    print(f"{name}: {(peak() - before) / 1e6:.0f}")
"""


def test_a_small_file_never_takes_much_memory(tmp_path):
    done = subprocess.run(
        [sys.executable, "-c", BOMBS, tmp_path], cwd=ROOT, capture_output=True, text=True, timeout=600
    )
    assert done.returncode == 0, done.stderr
    taken = {name: int(size) for name, size in (line.split(": ") for line in done.stdout.splitlines())}
    assert len(taken) == 7 and max(taken.values()) < 400, taken


def test_an_archive_that_unpacks_to_more_than_a_tenth_of_the_memory_is_refused(tmp_path, monkeypatch):
    x, y = np.zeros((300, 1000)), np.arange(300) % 3
    np.savez_compressed(tmp_path / "zeros.npz", train_x=x, train_y=y, test_x=x, test_y=y)
    assert (tmp_path / "zeros.npz").stat().st_size < 20_000
    assert data.load(tmp_path / "zeros.npz", "cpu").num_classes == 3
    monkeypatch.setattr(data, "host_memory", lambda: 40_000_000)
    with pytest.raises(ValueError, match=r"zeros.npz .*unpacked it has 48\d{5} bytes; 4000000 are allowed, a tenth"):
        data.load(tmp_path / "zeros.npz", "cpu")


def test_a_label_does_not_make_a_billion_classes():
    x = np.zeros((6, 4), np.float32)
    for label in (2**16, 10**9, 2**62):
        with pytest.raises(ValueError, match=f"x: train_y runs from 0 to {label}; labels must lie between 0 and 65535"):
            data.from_arrays("x", x, [0, 1, 2, 0, 1, label], x, [0] * 6, device="cpu")
    assert data.from_arrays("x", x, [0, 1, 2, 0, 1, 999], x, [0] * 6, device="cpu").num_classes == 1000


def test_whole_numbers_that_int64_does_not_hold_are_refused():
    x, y = np.full((6, 4), 2**63, np.uint64), np.arange(6) % 3
    with pytest.raises(ValueError, match=r"x: train_x runs up to 9223372036854775808; .* below 2\*\*63"):
        data.from_arrays("x", x, y, x, y, device="cpu")


def test_a_file_larger_than_the_memory_is_named(tmp_path, monkeypatch):
    store.write(tmp_path / "x", {"a": torch.ones(1)}, {"key": "k"})
    monkeypatch.setattr(Path, "read_bytes", lambda _: (_ for _ in ()).throw(MemoryError))
    with pytest.warns(UserWarning, match=r"x cannot be used \(MemoryError\); it will be computed again"):
        assert store.read(tmp_path / "x", "k") is None


# Sealed files of another form


def sealed(path, header, content=b"", about='{"key": "k"}'):
    """A file of safetensors with a right checksum, if it has one."""
    joined = fuzz_files.Checkpoint.joined(None, {"header": json.dumps(header).encode(), "data": content,
                                                 "about": about.encode()})  # fmt: skip
    path.write_bytes(joined)
    return path


ONE = {"dtype": "F32", "shape": [1], "data_offsets": [0, 4]}
FORMS = {
    "nested too deep": ({}, b"", "[" * 200_000), "a list": ({}, b"", "[1]"), "no key": ({}, b"", "{}"),
    "strides of 2**66": ({"a": {"dtype": "F32", "shape": [0, 2**62, 8], "data_offsets": [0, 0]}}, b"", '{"key": "k"}'),
    "an entry and a folder": ({"a": ONE, "a/b": {**ONE, "data_offsets": [4, 8]}}, bytes(8), '{"key": "k"}'),
    "a folder and an entry": ({"a/b": ONE, "a": {**ONE, "data_offsets": [4, 8]}}, bytes(8), '{"key": "k"}'),
    "twice": ({"a": ONE, "%61": {**ONE, "data_offsets": [4, 8]}}, bytes(8), '{"key": "k"}'),
}  # fmt: skip


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("key", ["k", None])
def test_a_sealed_file_of_another_form_is_named(tmp_path, form, key):
    header, content, about = FORMS[form]
    path = sealed(tmp_path / "x.safetensors", header, content, about)
    with pytest.warns(UserWarning, match=r"x\.safetensors cannot be used .*; it will be computed again"):
        assert store.read(path, key) is None


def changed(tree, about):
    """What a level's file may hold besides a level, each with the run's own key and checksum."""
    state, bits, error = tree["state"], tree["bits"], tree["error"]
    name = next(iter(bits))
    yield "lacks an entry", {**tree, "state": {n: t for n, t in state.items() if n != "linear.bias"}}, about
    yield "has another", {**tree, "state": {**state, "more": torch.ones(6, 1)}}, about
    yield "another type", {**tree, "state": {n: t.double() for n, t in state.items()}}, about
    yield "no states", {"error": error}, about
    yield "a tensor for a folder", {**tree, "bits": torch.ones(1)}, about
    yield "a trillion replicates", {**tree, "error": torch.zeros(2**40, 0, dtype=torch.float64)}, about
    yield "a replicate less", {**tree, "error": error[:-1]}, about
    yield "errors in float32", {**tree, "error": error.float()}, about
    yield "a short mask", {**tree, "bits": {**bits, name: bits[name][:-1]}}, about
    yield "a weight more", {**tree, "state": {**state, name: torch.cat([state[name], torch.ones(1)])}}, about
    yield "bits in float32", {**tree, "bits": {n: t.float() for n, t in bits.items()}}, about
    yield "an unknown replicate", tree, {**about, "diverged": {"99": 1}}
    yield "nothing said", tree, {"key": about["key"]}


def test_a_sealed_level_of_another_form_is_trained_again(ds, net, config, tmp_path):
    """The last one, so that nothing else is trained."""
    run = imp.run(net, ds, config, tmp_path)
    (path,) = tmp_path.rglob("level_03.safetensors")
    tree, about = store.read(path)
    tried = 0
    for what, tree_, about_ in changed(tree, about):
        store.write(path, tree_, about_)
        with pytest.warns(UserWarning, match=r"level_03\.safetensors cannot be used"):
            assert imp.load(net, ds, config, tmp_path) is None, what
        tried += 1
    assert tried == 13
    with pytest.warns(UserWarning, match=r"level_03\.safetensors cannot be used"):
        again = imp.run(net, ds, config, tmp_path)
    assert torch.equal(again.errors, run.errors)
    found, told = store.read(path)
    assert told == about and all(torch.equal(found["state"][n], tensor) for n, tensor in tree["state"].items())


def test_a_sealed_rewind_point_or_training_of_another_form_is_made_again(ds, net, tmp_path):
    recipe = training.Recipe(steps=6, batch_size=16, lr=0.1)
    state = net.init(2)
    expected = training.train(net, state, ds, recipe, checkpoint=tmp_path)
    (path,) = tmp_path.rglob("training.safetensors")
    tree, about = store.read(path)
    momentum = {name: tensor[:1] for name, tensor in tree["momentum"].items()}
    for tree_, about_ in (
        ({**tree, "momentum": momentum}, about), ({**tree, "failed": tree["failed"].double()}, about),
        ({**tree, "state": {}}, about), (tree, {**about, "step": 7}), (tree, {**about, "step": "6"}), ({}, about),
    ):  # fmt: skip
        store.write(path, tree_, about_)
        with pytest.warns(UserWarning, match=r"training\.safetensors cannot be used"):
            found = training.train(net, state, ds, recipe, checkpoint=tmp_path)
        assert all(torch.equal(found[name], expected[name]) for name in expected)
    config = imp.Config(recipe, rewind_step=2, levels=0, replicates=2)
    imp.run(net, ds, config, tmp_path)
    (path,) = tmp_path.rglob("rewind_2.safetensors")
    tree, about = store.read(path)
    store.write(path, {name: tensor[:1] for name, tensor in tree.items()}, about)
    with pytest.warns(UserWarning, match=r"rewind_2\.safetensors cannot be used \(rewind point entry"):
        assert imp.load(net, ds, config, tmp_path) is None


# Names that lead elsewhere


def test_members_of_an_archive_lead_nowhere(tmp_path):
    """A member is known by its name alone, and nothing is unpacked to disk."""
    folder = tmp_path / "inside"
    folder.mkdir()
    target = fuzz_files.Npz(folder)
    parts = target.parts(next(target.seeds()))
    for prefix in ("../", "/", f"{tmp_path}/", "inner/"):
        with zipfile.ZipFile(target.path, "w") as archive:
            for name, content in parts.items():
                archive.writestr(prefix + name, content)
        with pytest.raises(ValueError, match="own.npz lacks train_x, train_y, test_x, test_y"):
            data.load(target.path, "cpu")
    assert sorted(path.name for path in tmp_path.rglob("*")) == ["inside", "own.npz"]


@pytest.mark.parametrize("name", ["a" * 5000, "a\0b", "~nosuchuser/a", "../" * 2000 + "a"])
def test_a_path_that_cannot_be_is_told(name):
    with pytest.raises(FileNotFoundError, match="does not exist; it must be an .npz holding"):
        data.load(f"{name}.npz", "cpu")
    with pytest.raises(ValueError, match="dataset is .*allowed are 'mnist1d'"):
        data.load(name, "cpu")


@pytest.mark.parametrize("listed", [
    {"smoke/../../outside.safetensors": "0"}, {"/etc/passwd": "0"}, [[1, 2]], [["a", "b"], 3], "x", 7, None,
])  # fmt: skip
def test_a_manifest_that_leads_out_of_the_records_is_not_used(folders, tmp_path, listed, monkeypatch):
    folders[0].mkdir()
    (tmp_path / "outside.safetensors").write_bytes(b"")
    (folders[0] / "manifest.json").write_text(json.dumps(listed))
    read = []
    monkeypatch.setattr(records, "_sha256", lambda path: read.append(path))
    with pytest.warns(UserWarning, match="manifest.json is damaged; no published record can be trusted"):
        assert records.published_runs("smoke") == {} and not read


def test_a_manifest_nested_too_deep_or_in_no_file(folders):
    folders[0].mkdir()
    (folders[0] / "manifest.json").write_text("[" * 100_000)
    with pytest.warns(UserWarning, match="manifest.json is damaged"):
        assert records.published_runs("smoke") == {}
    (folders[0] / "manifest.json").unlink()
    (folders[0] / "manifest.json").mkdir()
    with pytest.warns(UserWarning, match="manifest.json is damaged"):
        assert records.published_runs("smoke") == {}


def test_links_are_neither_published_nor_written_through(folders, tmp_path):
    secret = tmp_path / "secret"
    secret.write_bytes(b"mine")
    folder = records.work_folder("smoke") / "imp_main" / "a1b2"
    store.write(folder / "level_00.safetensors", {"w": torch.ones(2)}, {"key": "a1b2"})
    (folder / "settings.json").symlink_to(secret)
    (folder / "more").symlink_to(tmp_path, target_is_directory=True)
    records.publish("smoke", {}, {"imp_main": folder}, "cpu")
    published = folders[0] / "smoke" / "imp_main"
    assert sorted(path.name for path in published.rglob("*")) == ["a1b2", "level_00.safetensors", "made.json"]
    store.write_bytes(folder / "settings.json", b"new")
    assert secret.read_bytes() == b"mine" and not (folder / "settings.json").is_symlink()


def test_a_long_argument_makes_a_short_message():
    """In no time, and with its beginning."""
    begun = time.process_time()
    for call in (lambda: checks.choice("x", "z" * 10**7, ["abc"]), lambda: checks.kind("x", "z" * 10**7, int),
                 lambda: checks.whole("x", "z" * 10**7, 0), lambda: checks.within("x", "z" * 10**7, 0),
                 lambda: data.find_device("cuda" + "z" * 10**7), lambda: data.load("z" * 10**7)):  # fmt: skip
        with pytest.raises(ValueError, match="is '(z|cudaz)+\\.\\.\\.z+'") as refused:
            call()
        assert len(str(refused.value)) < 500
    assert time.process_time() - begun < 2
