"""Files that are whole or absent, and records that say how they were made."""

import dataclasses
import datetime
import hashlib
import json
import os
import re
import subprocess
import sys
import warnings
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import save_file

import lotterylib
from lotterybook import records
from lotterylib import store

ROOT = Path(__file__).resolve().parent.parent

TREE = {
    "state": {"a.weight": torch.randn(2, 3), "a.count": torch.tensor([4, 5]), "wide": torch.randn(3).double()},
    "mask": {"a.weight": torch.tensor([[True, False, True]])},
    "error": torch.tensor(0.25),
    "none": torch.zeros(0, 4),
}
ABOUT = {"key": "k", "step": 100, "diverged": {3: 7}}


def same(found, expected):
    assert found.keys() == expected.keys()
    for name, value in expected.items():
        if isinstance(value, dict):
            same(found[name], value)
        else:
            assert found[name].dtype == value.dtype and torch.equal(found[name], value)


# store


def test_what_is_written_is_read(tmp_path):
    path = tmp_path / "new" / "folders" / "x.safetensors"
    base = torch.arange(12.0).view(3, 4)
    tree = {**TREE, "views": {"one": base[:, 1], "two": base.T, "same": base}}  # not contiguous, memory shared
    store.write(path, tree, ABOUT)
    found, about = store.read(path, "k")
    same(found, tree)
    assert about == {"key": "k", "step": 100, "diverged": {"3": 7}}
    assert store.read(path)[1]["step"] == 100  # any key
    assert oct(path.stat().st_mode & 0o777) == "0o644" and [p.name for p in path.parent.iterdir()] == [path.name]


def test_no_file_is_no_warning(tmp_path):
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert store.read(tmp_path / "none.safetensors", "k") is None


def test_any_damaged_byte_is_noticed(tmp_path):
    """Whichever bit flips, the reader gets the true content or none, and no exception."""
    path = tmp_path / "x.safetensors"
    store.write(path, {"s": {"w": torch.tensor([1.5, -2.0])}, "n": torch.tensor([3])}, {"key": "k", "step": 100})
    whole = path.read_bytes()
    expected, about = store.read(path, "k")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        for place in range(len(whole)):
            for bit in (1, 16, 128):
                path.write_bytes(whole[:place] + bytes([whole[place] ^ bit]) + whole[place + 1 :])
                if found := store.read(path, "k"):
                    same(found[0], expected)
                    assert found[1] == about, f"byte {place} of the file"


@pytest.mark.parametrize("share", [0, 0.01, 0.3, 0.9, 0.999])
def test_a_truncated_file_is_named(tmp_path, share):
    path = tmp_path / "x.safetensors"
    store.write(path, TREE, ABOUT)
    whole = path.read_bytes()
    path.write_bytes(whole[: int(len(whole) * share)])
    with pytest.warns(UserWarning, match=r"x\.safetensors cannot be used .*; it will be computed again"):
        assert store.read(path, "k") is None


@pytest.mark.parametrize("kind", ["other key", "no metadata", "other metadata", "folder"])
def test_a_foreign_file_is_named(tmp_path, kind):
    path = tmp_path / "x.safetensors"
    tensors = {"a": torch.ones(2)}
    if kind == "other key":
        store.write(path, tensors, {"key": "another"})
    elif kind == "folder":
        path.mkdir()
    else:
        note = {"about": "[1]", "digest": store.digest(tensors)} if kind == "other metadata" else None
        save_file(tensors, path, note)
    with pytest.warns(UserWarning, match=r"x\.safetensors cannot be used"):
        assert store.read(path, "k") is None


class Crash(BaseException):
    """The plug is pulled."""


@pytest.mark.parametrize("moment", ["fsync", "replace"])
def test_a_crash_while_writing_leaves_the_old_file(tmp_path, monkeypatch, moment):
    path = tmp_path / "x.safetensors"
    store.write(path, TREE, ABOUT)
    with monkeypatch.context() as patch, pytest.raises(Crash):
        patch.setattr(os, moment, lambda *_: (_ for _ in ()).throw(Crash))
        patch.setattr(Path, "unlink", lambda *_, **__: None)  # the process is gone: nobody tidies up
        store.write(path, {"a": torch.zeros(1)}, {"key": "k"})
    assert len(list(tmp_path.iterdir())) == 2  # what was being written lies beside it, under another name
    same(store.read(path, "k")[0], TREE)
    store.write(path, {"a": torch.zeros(1)}, {"key": "k"})
    assert store.read(path, "k")[0].keys() == {"a"}


def test_an_error_while_writing_leaves_nothing_behind(tmp_path, monkeypatch):
    path, order = tmp_path / "x", []
    for name in ("fsync", "replace"):
        original = getattr(os, name)
        monkeypatch.setattr(os, name, lambda *a, name=name, call=original: (order.append(name), call(*a))[1])
    store.write_bytes(path, b"old")
    assert order == ["fsync", "replace"]  # on disk before it takes the name
    monkeypatch.setattr(os, "replace", lambda *_: (_ for _ in ()).throw(OSError("disk full")))
    with pytest.raises(OSError, match="disk full"):
        store.write_bytes(path, b"new")
    assert path.read_bytes() == b"old" and list(tmp_path.iterdir()) == [path]


def test_digest_and_key_tell_apart():
    a = {"x": torch.tensor([1, 2], dtype=torch.int32), "y": torch.zeros(2, 3)}
    others = [
        {"x": torch.tensor([1, 3], dtype=torch.int32), "y": a["y"]},
        {"x": a["x"], "z": a["y"]},
        {"x": a["x"], "y": a["y"].view(3, 2)},
        {"x": a["x"].view(torch.float32), "y": a["y"]},
        {"x": a["x"]},
    ]
    assert len({store.digest(a), *map(store.digest, others)}) == 6
    assert store.digest({name: a[name].T if a[name].dim() > 1 else a[name] for name in ("y", "x")}) == store.digest(
        {"x": a["x"], "y": a["y"].T.contiguous()}
    )
    assert store.digest(a, "about") != store.digest(a)
    keys = [store.key(v) for v in ({"a": 1}, {"a": 2}, {"b": 1}, [1], ["1"], {"a": (1, 2)})]
    assert len(set(keys)) == 6 and store.key({"b": 1, "a": (2,)}) == store.key({"a": [2], "b": 1})
    assert store.key({"a": np.int64(1), "b": np.float32(0.5)}) == store.key({"a": 1, "b": 0.5})


@dataclasses.dataclass(frozen=True)
class Old:
    size: int
    rate: float = 0.1


@dataclasses.dataclass(frozen=True)
class New(Old):
    option: tuple = (1, 2)


def test_a_dataclass_counts_with_what_is_not_its_default():
    """A field that is added later leaves the keys of what was made before alone, unless it is used."""
    same = [Old(3), Old(3, 0.1), New(3), New(3, option=(1, 2)), {"size": 3}]
    assert len({store.key(["x", {"nested": (description,)}]) for description in same}) == 1
    other = [Old(4), Old(3, 0.2), New(3, option=(2, 1)), New(3, option=())]
    assert len({store.key(description) for description in (*other, Old(3))}) == 5
    expected = {"a": [{"size": 3, "option": [1]}], "b": 2.0}
    assert store.plain({"a": [New(3, option=(1,))], "b": np.float64(2)}) == expected


# records


class Work:
    """An experiment that counts how often it is run."""

    def __init__(self, value=1.0):
        self.runs, self.value = 0, value

    def __call__(self):
        self.runs += 1
        return {"error": torch.tensor([self.value, 0.5]), "level": 3}


def get(work, settings=None, **options):
    return records.load_or_compute("demo", "smoke", settings or {"lr": 0.1}, work, **options)


def test_a_record_is_computed_once_and_says_how_it_was_made(folders):
    work = Work()
    made, again = get(work, data=lambda: "fingerprint"), get(work)
    assert work.runs == 1 and (folders[1] / "smoke" / "demo.safetensors").is_file()
    for record in (made, again):
        assert record["error"].tolist() == [1, 0.5] and record["level"].item() == 3
        about = record.about
        assert about["experiment"] == "demo" and about["preset"] == "smoke" and about["settings"] == {"lr": 0.1}
        assert about["data"] == "fingerprint" and about["seconds"] >= 0
        assert about["versions"]["torch"] == torch.__version__ and about["device"]
        assert datetime.date.fromisoformat(about["date"])
    assert get(work, recompute=True) and work.runs == 1  # it is in runs/ already


def test_a_record_names_the_revision_of_the_library(folders, tmp_path):
    version = get(Work()).about["versions"]["lotterylib"]
    assert version == f"{lotterylib.__version__}+{records.revision(ROOT / 'lotterylib', ROOT / 'lotterybook')}"
    assert re.fullmatch(r"[\d.]+\+[0-9a-f]{8}", version)
    package, seen = tmp_path / "package", []
    (package / "inside").mkdir(parents=True)
    for name, content in (("a.py", "1"), ("a.pyc", "1"), ("a.py", "2"), ("inside/a.py", "2"), ("a.py", "1")):
        (package / name).write_text(content)
        seen.append(records.revision(package))
    assert seen[0] == seen[1] and len(set(seen[1:])) == 4
    (package / "inside" / "a.py").unlink()
    assert records.revision(package) == seen[0]


def test_a_record_with_other_settings_is_refused_with_a_warning(folders):
    get(Work(1.0))
    other = Work(2.0)
    with pytest.warns(UserWarning, match=r"demo\.safetensors cannot be used .*other settings.*computed again"):
        assert get(other, {"lr": 0.2})["error"][0] == 2
    assert get(other, {"lr": 0.2})["error"][0] == 2 and other.runs == 1


def test_a_damaged_record_is_computed_again(folders):
    work = Work()
    get(work)
    path = folders[1] / "smoke" / "demo.safetensors"
    path.write_bytes(path.read_bytes()[:-1])
    with pytest.warns(UserWarning, match=r"demo\.safetensors cannot be used"):
        assert get(work)["error"][0] == 1
    assert work.runs == 2 and get(work) and work.runs == 2


def publish(folders, value=1.0):
    """A published record and a published checkpoint folder; returns the record's path."""
    published, runs = folders
    get(Work(value))
    store.write(runs / "smoke" / "imp" / "level_00.safetensors", {"w": torch.ones(2)}, {"key": "k"})
    (runs / "smoke" / "imp" / ".level_01.safetensors.x1y2").write_bytes(b"what a crash left")
    records.publish("smoke", ["imp"])
    return published / "smoke" / "demo.safetensors"


def manifest(folders):
    return json.loads((folders[0] / "manifest.json").read_text())


def test_publishing_moves_and_lists(folders):
    path = publish(folders)
    assert not list((folders[1] / "smoke").rglob("*.safetensors"))
    assert manifest(folders) == {
        name: hashlib.sha256((folders[0] / name).read_bytes()).hexdigest()
        for name in ("smoke/demo.safetensors", "smoke/imp/level_00.safetensors")
    }
    assert sorted(p.name for p in folders[0].rglob("*") if p.is_file()) == [
        "demo.safetensors", "level_00.safetensors", "manifest.json",
    ]  # fmt: skip
    assert records.is_published(path)
    work = Work(5.0)
    assert get(work)["error"][0] == 1 and work.runs == 0
    assert records.checkpoint_folder("smoke", "imp") == folders[0] / "smoke" / "imp"
    assert records.checkpoint_folder("smoke", "imp", recompute=True) == folders[1] / "smoke" / "imp"
    assert records.checkpoint_folder("smoke", "other") == folders[1] / "smoke" / "other"


def test_recomputing_passes_over_what_is_published(folders):
    publish(folders)
    work = Work(7.0)
    assert get(work, recompute=True)["error"][0] == 7 and work.runs == 1
    assert get(Work(9.0))["error"][0] == 1  # the published one still comes first
    records.publish("smoke", [])
    assert get(Work(9.0))["error"][0] == 7  # until it is replaced
    assert len(manifest(folders)) == 2


@pytest.mark.parametrize(
    "damage", ["record", "manifest entry", "manifest", "no manifest", "foreign manifest", "unlisted"]
)
def test_a_published_record_must_be_what_the_manifest_lists(folders, damage):
    path, listed = publish(folders), folders[0] / "manifest.json"
    if damage == "record":
        content = path.read_bytes()
        path.write_bytes(content[:-1] + bytes([content[-1] ^ 1]))
    elif damage == "manifest":
        listed.write_text(listed.read_text()[:-10])
    elif damage == "no manifest":
        listed.unlink()
    else:
        entries = manifest(folders)
        if damage == "manifest entry":
            entries["smoke/demo.safetensors"] = "0" * 64
        else:
            del entries["smoke/demo.safetensors"]
        listed.write_text("[]" if damage == "foreign manifest" else json.dumps(entries))
    work = Work(2.0)
    with pytest.warns(UserWarning) as noted:
        assert get(work)["error"][0] == 2
    told = [str(warning.message) for warning in noted]
    assert any("demo.safetensors cannot be used" in text and "manifest" in text for text in told)
    assert any("manifest.json is damaged" in text for text in told) == (damage == "manifest")
    assert work.runs == 1 and (folders[1] / "smoke" / "demo.safetensors").is_file()


@pytest.mark.parametrize("damage", ["file", "lost"])
def test_a_damaged_checkpoint_folder_is_not_used(folders, damage):
    publish(folders)
    path = folders[0] / "smoke" / "imp" / "level_00.safetensors"
    if damage == "lost":
        path.unlink()
        assert records.checkpoint_folder("smoke", "imp") == folders[1] / "smoke" / "imp"
        return
    path.write_bytes(b"")
    with pytest.warns(UserWarning, match=r"level_00\.safetensors cannot be used"):
        assert records.checkpoint_folder("smoke", "imp") == folders[1] / "smoke" / "imp"


def test_publishing_what_was_interrupted_is_noticed(folders, monkeypatch):
    """Killed between the records and the manifest: the new file is not trusted, the old list is still there."""
    publish(folders)
    get(Work(3.0), recompute=True)
    original = store.write_bytes

    def killed(path, content):
        if Path(path).name == "manifest.json":
            raise Crash
        original(path, content)

    with monkeypatch.context() as patch, pytest.raises(Crash):
        patch.setattr(store, "write_bytes", killed)
        records.publish("smoke", [])
    with pytest.warns(UserWarning, match="manifest"):
        assert get(Work(9.0))["error"][0] == 3  # from runs/, which is not gone
    records.publish("smoke", [])
    assert get(Work(9.0))["error"][0] == 3


def test_the_work_folder_comes_from_the_environment(monkeypatch, tmp_path):
    monkeypatch.setenv("LOTTERYLIB_RUNS", str(tmp_path / "elsewhere"))
    assert records.work_folder() == tmp_path / "elsewhere"
    monkeypatch.delenv("LOTTERYLIB_RUNS")
    assert records.work_folder() == ROOT / "runs" and records.PUBLISHED == ROOT / "records"


WRITER = """
import sys, warnings, torch
from lotterylib import store
warnings.simplefilter("error")
path, me = sys.argv[1], float(sys.argv[2])
for i in range(30):
    store.write(path, {"w": torch.full((20000,), me)}, {"key": "k", "who": me})
    (tensors, about) = store.read(path, "k")
    assert (tensors["w"] == about["who"]).all()
print("done")
"""


def test_two_processes_write_the_same_file_at_once(tmp_path):
    """A reader sees one of the two whole, always."""
    path = tmp_path / "runs" / "x.safetensors"
    writers = [
        subprocess.Popen(
            [sys.executable, "-c", WRITER, path, str(me)], cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.PIPE
        )
        for me in (1, 2)
    ]
    told = [writer.communicate(timeout=600) for writer in writers]
    for writer, (out, err) in zip(writers, told, strict=True):
        assert writer.returncode == 0 and b"done" in out, err.decode()
    assert [p.name for p in path.parent.iterdir()] == [path.name]
    same(store.read(path, "k")[0], {"w": torch.full((20000,), store.read(path, "k")[1]["who"])})
