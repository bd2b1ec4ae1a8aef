"""Damage of whatever is kept in a file: noticed by the file's name, never used, made again.

Each file is damaged in one place at a time; what is read of it then is the true content or nothing.
"""

import contextlib
import itertools
import random
import warnings

import crashes
import numpy as np
import pytest
import torch
from soak import forms, tally
from test_data import take_for_published, write_idx

from lotterybook import records
from lotterylib import data, imp, store

OLD = torch.arange(2000.0)  # what the record that is damaged holds


def content_of(dataset):
    return {name: getattr(dataset, name) for name in ("train_x", "train_y", "test_x", "test_y")}


class Kind:
    """A kind of file: ``path`` of one, ``read()`` of what it holds, and ``true``, which that is while it is whole."""

    def __init__(self, path, read):
        self.path, self.read, self.true, self.whole = path, read, read(), path.read_bytes()

    def outcome(self, content):
        """``"noticed"``, ``"true"`` or ``"used"``: what comes of these bytes in place of the whole ones."""
        self.path.write_bytes(content)
        with warnings.catch_warnings(record=True) as told:
            warnings.simplefilter("always")
            try:
                found = self.read()
            except ValueError as error:
                found, told = None, [*told, error]
        if found is None:
            named = any(self.path.name in str(getattr(one, "message", one)) for one in told)
            return "noticed" if named else "used"  # one that is not named is not noticed as it should be
        same = found.keys() == self.true.keys() and all(torch.equal(found[name], self.true[name]) for name in found)
        return "true" if same else "used"


def flat(found):
    """What ``store.read`` gave as a flat dict of tensors, with what is said of them."""
    return found and dict(store._flat(found[0])) | {"said": torch.tensor(list(repr(found[1]).encode()))}


def level(folder):
    """A level of an IMP run"""
    described = crashes.described()
    imp.run(*described, checkpoint=folder)
    files = imp._folder(*described, folder)
    return Kind(files.path / "level_01.safetensors", lambda: flat(store.read(files.path / "level_01.safetensors")))


def training_state(folder):
    """What an interrupted training keeps"""
    files = store.Folder(folder, {"steps": 12}).open()
    files.save("training", {"state": {"w": OLD.view(2, -1)}, "momentum": {"w": OLD.view(2, -1) / 3}}, step=7)
    return Kind(files.path / "training.safetensors", lambda: flat(store.read(files.path / "training.safetensors")))


def record(folder):
    """A record in `runs/`"""

    def get(compute):
        return records.load_or_compute("demo", "smoke", {}, "data", compute)

    def again():
        raise LookupError("it is computed again")

    def read():
        with contextlib.suppress(LookupError):
            return dict(get(again))

    return Kind(get(lambda: ({"error": OLD}, {})).path, read)


def published(folder):
    """A published record"""
    crashes.record(folder, size=2000)
    path = records.PUBLISHED / "smoke" / "demo.safetensors"
    return Kind(path, lambda: records.published("demo", "smoke", {"lr": 1.0}, "data"))


def manifest(folder):
    """`records/manifest.json`"""
    return Kind(records.PUBLISHED / "manifest.json", published(folder).read)


def npz(folder):
    """A dataset in an `.npz` file"""
    arrays = {name: array.numpy() for name, array in content_of(crashes.blobs(examples=80)).items()}
    np.savez(folder / "mine.npz", **arrays, name="mine", augment=False)
    return Kind(folder / "mine.npz", lambda: content_of(data.load(folder / "mine.npz", device="cpu")))


def mnist(folder):
    """A file of MNIST"""
    rng = np.random.default_rng(0)
    for part, count in (("train", 12), ("t10k", 6)):
        pixels, labels = rng.integers(0, 256, (count, 28, 28), np.uint8), np.arange(count, dtype=np.uint8) % 6
        write_idx(folder / "MNIST" / "raw", part, pixels, labels)
    return Kind(folder / "MNIST" / "raw" / "t10k-images-idx3-ubyte", lambda: content_of(data.load("mnist", "cpu")))


@pytest.fixture(params=[level, training_state, record, published, manifest, npz, mnist], ids=lambda kind: kind.__name__)
def kind(request, folders, monkeypatch):
    """One whole file of each kind."""
    folder = folders[0].parent
    monkeypatch.setenv("LOTTERYLIB_DATA", str(folder))
    with monkeypatch.context() as patch:
        patch.setattr(data, "_check_files", lambda *_: None)  # until the checksums of these files are known
        made = request.param(folder)
    if request.param is mnist:
        take_for_published(monkeypatch, folder / "MNIST")
    made.what = request.param.__doc__
    return made


def try_all(kind, how, contents):
    """Put each of the contents in the file's place, and in the end its own; note what came of them."""
    found = [kind.outcome(content) for content in contents]
    noticed, true, used = (found.count(outcome) for outcome in ("noticed", "true", "used"))
    tally("Damaged", what=kind.what, how=how, tried=len(found), noticed=noticed, content_true=true, used=used)
    assert len(found) == noticed + true and noticed, f"used: {[i for i, one in enumerate(found) if one == 'used']}"
    assert kind.outcome(kind.whole) == "true"


@forms("count", 40, 1000)
def test_a_changed_byte_is_noticed(kind, count):
    draw, whole = random.Random(7), kind.whole

    def flipped(place):
        return whole[:place] + bytes([whole[place] ^ draw.randrange(1, 256)]) + whole[place + 1 :]

    try_all(kind, "one byte changed", [flipped(draw.randrange(len(whole))) for _ in range(count)])


@forms("block", 2048, 512)
def test_a_truncated_file_is_noticed(kind, block):
    whole = kind.whole
    how = f"cut at each multiple of {block} bytes"
    try_all(kind, how, [whole[:size] for size in range(0, len(whole), block)])


@forms("places", 1, 5)
def test_a_file_in_place_of_another_is_noticed(tmp_path, places):
    """Every file of a run in the place of every other: all have the run's key."""
    described = crashes.described()
    imp.run(*described, checkpoint=tmp_path)
    files = imp._folder(*described, tmp_path)
    names = sorted(path.stem for path in files.path.glob("*.safetensors"))
    whole = {name: (files.path / f"{name}.safetensors").read_bytes() for name in names}
    assert len(names) == 5
    for name in names[:places]:
        path = files.path / f"{name}.safetensors"
        kind = Kind(path, lambda path=path: flat(store.read(path, files.key)))
        kind.what = f"`{name}` of an IMP run"
        try_all(kind, "another file of the run in its place", [whole[other] for other in names if other != name])


@forms("pairs", 4, 12)
def test_a_record_in_place_of_another_is_noticed(folders, pairs):
    """Of another experiment, of other settings, and of other published runs, which its key does not tell apart."""
    each = [("demo", {}, ""), ("other", {}, ""), ("demo", {"lr": 1.0}, ""), ("demo", {}, "_on_other_runs")]
    paths = []
    for value, (name, settings, basis) in enumerate(each):
        get = (name, "smoke", settings, "data")
        paths.append(records.load_or_compute(*get, lambda value=value: ({"error": value}, {}), basis).path)
    whole = [path.read_bytes() for path in paths]
    for one, two in [*itertools.permutations(range(len(each)), 2)][-pairs:]:
        name, settings, basis = each[one]
        paths[one].write_bytes(whole[two])
        with pytest.warns(UserWarning, match=f"{paths[one].name} cannot be used"):
            found = records.load_or_compute(name, "smoke", settings, "data", lambda: ({"error": -1}, {}), basis)
        assert found["error"] == -1
        paths[one].write_bytes(whole[one])
    what, how = "A record in `runs/`", "another record in its place"
    tally("Damaged", what=what, how=how, tried=pairs, noticed=pairs, content_true=0, used=0)


def test_datasets_that_changed_places_have_runs_of_their_own(tmp_path):
    """Either is whole: what was trained on the one is not served for the other."""
    net, ds, config = crashes.described()
    imp.run(net, ds, config, checkpoint=tmp_path)
    assert imp.load(net, ds, config, tmp_path)
    assert imp.load(net, crashes.blobs(examples=404), config, tmp_path) is None


def test_a_damaged_array_that_says_it_is_short_is_not_read(tmp_path):
    """It would not be read as far as its checksum."""
    arrays = {name: array.numpy() for name, array in content_of(crashes.blobs(examples=80)).items()}
    np.savez(tmp_path / "mine.npz", **arrays)
    content = (tmp_path / "mine.npz").read_bytes()
    assert content.count(b"(60, 12)") == 1
    (tmp_path / "mine.npz").write_bytes(content.replace(b"(60, 12)", b"(60, 2) "))
    with pytest.raises(ValueError, match=r"mine.npz .* is damaged \(Bad CRC-32 for file 'train_x.npy'"):
        data.load(tmp_path / "mine.npz", device="cpu")
