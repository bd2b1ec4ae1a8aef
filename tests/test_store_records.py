"""Files that are whole or absent, and records that say how they were made."""

import dataclasses
import datetime
import errno
import hashlib
import json
import os
import platform
import re
import shutil
import subprocess
import sys
import warnings
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import save_file

import lotterylib
from lotterybook import presets, records
from lotterylib import imp, store, training

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


def test_names_may_hold_what_separates_them(tmp_path):
    """``add_module`` takes any name without a dot."""
    tree = {"state": {"a/b.weight": torch.ones(2), "50%2F.bias": torch.zeros(1)}, "x/y": torch.ones(1)}
    store.write(tmp_path / "x", tree, {"key": "k"})
    same(store.read(tmp_path / "x", "k")[0], tree)


def test_no_file_is_no_warning(tmp_path):
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert store.read(tmp_path / "none.safetensors", "k") is None


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
    monkeypatch.setattr(os, "replace", lambda *_: (_ for _ in ()).throw(OSError(errno.ENOSPC, "disk full")))
    with pytest.raises(OSError, match=f"disk full: '{path}'"):
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


@dataclasses.dataclass(frozen=True)
class Later(Old):
    option: int | None = None


def test_every_field_of_a_dataclass_counts_but_none():
    """So what was made by other defaults is told apart; a field that is added later as ``None`` changes nothing."""
    assert store.key(Old(3)) == store.key(Old(3, 0.1)) == store.key({"size": 3, "rate": 0.1}) == store.key(Later(3))
    others = Old(4), Old(3, 0.2), New(3), New(3, option=()), {"size": 3}, Later(3, 0.1, 1)
    assert len({store.key(["x", {"nested": (description,)}]) for description in (*others, Old(3))}) == 7
    expected = {"a": [{"size": 3, "rate": 0.1, "option": [1]}], "b": 2.0}
    assert store.plain({"a": [New(3, option=(1,))], "b": np.float64(2)}) == expected


@dataclasses.dataclass(frozen=True)
class Changed(training.Recipe):
    """A recipe by a later library, whose usual batches are smaller."""

    batch_size: int = 64


def test_a_changed_default_changes_the_keys():
    arms = [presets.Arm("cnn1d", imp.Config(kind(steps=5))) for kind in (training.Recipe, Changed)]
    assert len({records.key("demo", {"main": arm}, "data") for arm in arms}) == 2
    assert len({store.key(arm.config) for arm in arms}) == 2


# records


class Work:
    """An experiment that counts how often it is run."""

    def __init__(self, value=1.0):
        self.runs, self.value = 0, value

    def __call__(self):
        self.runs += 1
        return {"error": torch.tensor([self.value, 0.5]), "level": 3}, {"runs": {"imp_main": "0.1.0+12345678"}}


def get(work, settings=None, digest="data", preset="smoke", recompute=False, **options):
    """What an experiment does."""
    described = "demo", preset, settings or {"lr": 0.1}, digest
    if not recompute and (found := records.published(*described)):
        return found
    return records.load_or_compute(*described, work, **options)


def working(folders, preset="smoke"):
    return sorted((folders[1] / preset).rglob("*.safetensors"))


def test_a_record_is_computed_once_and_says_how_it_was_made(folders):
    work = Work()
    made, again = get(work), get(work)
    assert work.runs == 1 and working(folders) == [made.path] == [again.path]
    for record in (made, again):
        assert record["error"].tolist() == [1, 0.5] and record["level"].item() == 3
        about = record.about
        assert about["experiment"] == "demo" and about["preset"] == "smoke" and about["settings"] == {"lr": 0.1}
        assert about["data"] == "data" and about["seconds"] >= 0 and about["runs"] == {"imp_main": "0.1.0+12345678"}
        assert about["versions"]["torch"] == torch.__version__ and about["device"]
        assert datetime.date.fromisoformat(about["date"])
    assert get(work, recompute=True) and work.runs == 1  # it is in runs/ already: this goes on


def test_the_time_before_an_interruption_counts(folders, monkeypatch):
    clock = iter((0.0, 100.0, 200.0, 205.0, 300.0, 307.0))
    monkeypatch.setattr(records.time, "perf_counter", lambda: next(clock))

    def stopped():
        raise KeyboardInterrupt

    for _ in range(2):
        with pytest.raises(KeyboardInterrupt):
            get(stopped)
    assert get(Work()).about["seconds"] == 112
    assert not list(folders[1].rglob("*.seconds"))


def test_a_damaged_time_is_named_and_counts_as_none(folders):
    def stopped():
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        get(stopped)
    (path,) = folders[1].rglob("*.seconds")
    path.write_bytes(path.read_bytes().replace(b"seconds", b"minutes"))
    with pytest.warns(UserWarning, match=r"\.seconds cannot be used"):
        assert get(Work()).about["seconds"] < 9


def test_a_record_names_the_device_that_it_was_computed_on(folders, monkeypatch):
    """Not the one that is there."""
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 2)
    monkeypatch.setattr(torch.cuda, "get_device_name", lambda device=0: f"Card {torch.device(device).index or 0}")
    about = get(Work(), device="cpu").about
    threads = torch.get_num_threads()
    assert about["device"] == f"CPU ({platform.machine()}, {os.cpu_count()} cores, {threads} threads)"
    assert about["threads"] == threads
    assert [records.provenance(device)["device"] for device in ("auto", "cuda:1")] == ["Card 0", "Card 1"]


def test_a_record_names_the_revision_of_the_code(folders):
    version = get(Work()).about["versions"]["lotterylib"]
    assert version == f"{lotterylib.__version__}+{records.revision(ROOT / 'lotterylib', ROOT / 'lotterybook')}"
    assert re.fullmatch(r"[\d.]+\+[0-9a-f]{8}", version)


def test_a_revision_is_that_of_what_computes(tmp_path):
    seen = []
    for name, content in (
        ("lotterylib/a.py", "1"), ("lotterylib/a.pyc", "1"), ("lotterybook/room/figures.py", "1"),
        ("lotterybook/room/findings.py", "1"), ("lotterybook/style.py", "1"),  # up to here the same
        ("lotterylib/a.py", "2"), ("lotterylib/inside/a.py", "2"), ("lotterybook/presets.py", "1"),
        ("lotterybook/settings.py", "1"),
        ("lotterybook/room/experiments.py", "1"), ("lotterybook/room/new.py", "1"), ("lotterybook/experiment.py", "1"),
    ):  # fmt: skip
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_text(content)
        seen.append(records.revision(tmp_path / "lotterylib", tmp_path / "lotterybook"))
    assert len(set(seen[:5])) == 1 and len(set(seen[4:])) == 8


def test_all_that_experiments_import_counts_in_the_revision(tmp_path):
    """Changed one at a time in a copy: whatever they use, directly or not, that is not only about storing."""
    for package in ("lotterylib", "lotterybook"):
        shutil.copytree(ROOT / package, tmp_path / package, ignore=shutil.ignore_patterns("__pycache__"))
    book = tmp_path / "lotterybook"
    used, waiting = set(), list(book.glob("*/experiments.py"))
    while waiting:
        path = waiting.pop()
        used.add(path)
        for dots, module, names in re.findall(r"^from (\.+)(\w*) import (.*)$", path.read_text(), re.MULTILINE):
            place = path.parent if dots == "." else path.parent.parent
            parts = [module] if module else [name.strip() for name in names.split(",")]
            files = (place / f"{part}.py" for part in parts)
            waiting += [file for file in files if file.exists() and file not in used and file.stem != "records"]
    assert {book / f"{name}.py" for name in ("settings", "presets", "experiment")} < used
    before = records.revision(tmp_path / "lotterylib", book)
    for path in used:
        content = path.read_text()
        path.write_text(content + "\n")
        assert records.revision(tmp_path / "lotterylib", book) != before, path
        path.write_text(content)


@pytest.mark.parametrize("other", [{"settings": {"lr": 0.2}}, {"digest": "other data"}, {"preset": "book"}])
def test_other_settings_data_and_presets_have_records_of_their_own(folders, other):
    """And nothing that is finished is written over."""
    first, second = Work(1.0), Work(2.0)
    for _ in range(2):
        assert get(first)["error"][0] == 1 and get(second, **other)["error"][0] == 2
    assert first.runs == second.runs == 1


@pytest.mark.parametrize("other", [{"settings": {"lr": 0.2}}, {"digest": "other data"}])
def test_a_published_record_of_other_settings_or_data_is_not_served(folders, other):
    path = publish(folders)
    content, work = path.read_bytes(), Work(2.0)
    with pytest.warns(UserWarning, match=r"demo\.safetensors cannot be used: it was made with other settings or from"):
        assert get(work, **other)["error"][0] == 2
    assert path.read_bytes() == content and get(Work(9.0))["error"][0] == 1


def test_a_published_record_needs_no_data(folders):
    publish(folders)
    assert records.published("demo", "smoke", {"lr": 0.1})["error"][0] == 1
    with pytest.warns(UserWarning, match="other settings"):
        assert records.published("demo", "smoke", {"lr": 0.2}) is None


def test_another_revision_serves_what_is_published_and_nothing_else(folders, monkeypatch):
    path = publish(folders)
    get(Work(5.0), recompute=True)
    with monkeypatch.context() as patch:
        patch.setattr(records, "_REVISION", "fedcba98")
        patch.setattr(records, "VERSION", "0.1.0+fedcba98")
        work = Work(7.0)
        assert get(work)["error"][0] == 1 and work.runs == 0
        assert get(work, recompute=True)["error"][0] == 7 and work.runs == 1  # not the 5 of the code before
        assert get(work, recompute=True).about["versions"]["lotterylib"] == "0.1.0+fedcba98"
        assert get(work).about["versions"]["lotterylib"] == store.read(path)[1]["versions"]["lotterylib"]
    assert get(Work(9.0), recompute=True)["error"][0] == 5


def test_what_is_computed_from_other_published_runs_is_told_apart(folders):
    values = [get(Work(value), basis=basis)["error"][0] for value, basis in ((1.0, ""), (2.0, "_on_a"), (3.0, "_on_b"))]
    assert values == [1, 2, 3] and len(working(folders)) == 3


def test_a_damaged_record_is_computed_again(folders):
    work = Work()
    path = get(work).path
    path.write_bytes(path.read_bytes()[:-1])
    with pytest.warns(UserWarning, match=r"\.safetensors cannot be used"):
        assert get(work)["error"][0] == 1
    assert work.runs == 2 and get(work) and work.runs == 2


def publish(folders, value=1.0, key="a1b2"):
    """A published record and a published run; returns the record's path."""
    published, runs = folders
    folder = records.work_folder("smoke") / "imp_main" / key
    store.write(folder / "level_00.safetensors", {"w": torch.ones(2)}, {"key": key})
    (folder / "settings.json").write_text("{}")
    (folder / ".level_01.safetensors.x1y2.part").write_bytes(b"what a crash left")
    records.publish("smoke", {"demo": get(Work(value), recompute=True)}, {"imp_main": folder}, "cpu")
    return published / "smoke" / "demo.safetensors"


def manifest(folders):
    return json.loads((folders[0] / "manifest.json").read_text())


def state_of(folder):
    """Content and time of every file."""
    return {path: (path.read_bytes(), path.stat().st_mtime_ns) for path in folder.rglob("*") if path.is_file()}


def test_publishing_lists_what_it_publishes(folders):
    path = publish(folders)
    names = "demo.safetensors", *(f"imp_main/{name}" for name in RUN)
    assert manifest(folders) == {
        f"smoke/{name}": hashlib.sha256((folders[0] / "smoke" / name).read_bytes()).hexdigest() for name in names
    }
    assert {p.relative_to(folders[0]).as_posix() for p in state_of(folders[0])} == {*manifest(folders), "manifest.json"}
    assert records.is_published(path)
    work = Work(5.0)
    assert get(work)["error"][0] == 1 and work.runs == 0
    assert not list(records.work_folder("smoke").glob("demo/*"))  # a later command computes it anew
    (run,) = records.published_runs("smoke").values()
    assert run.path == folders[0] / "smoke" / "imp_main" and run.made_by == records.VERSION
    assert records.published_runs("book") == {}


RUN = ("a1b2/level_00.safetensors", "a1b2/settings.json", "made.json")


def test_a_published_run_takes_the_place_of_the_one_before(folders):
    publish(folders)
    before = records.published_runs("smoke")["imp_main"].digest
    (folders[0] / "smoke" / "imp_main" / "a1b2" / ".settings.json.x1y2.part").write_bytes(b"what a crash left")
    publish(folders, key="c3d4")
    assert {path.name for path in (folders[0] / "smoke" / "imp_main").iterdir()} == {"c3d4", "made.json"}
    assert not any("a1b2" in name for name in manifest(folders))
    assert records.published_runs("smoke")["imp_main"].digest != before


def test_nothing_but_what_is_asked_for_is_published(folders):
    """What else lies in runs/ stays there; what else is published, damaged or not, stays as it is."""
    path = publish(folders)
    path.write_bytes(path.read_bytes()[:-1])
    listed = manifest(folders)
    others = state_of(folders[0])
    get(Work(), {"lr": 0.2}, recompute=True)
    made = records.load_or_compute("another", "smoke", {}, "data", Work(4.0))
    records.publish("smoke", {"another": made})
    assert {*manifest(folders)} == {*listed, "smoke/another.safetensors"}
    assert {name: manifest(folders)[name] for name in listed} == listed  # a damaged file is not taken up as it is
    assert {p: state for p, state in state_of(folders[0]).items() if p in others and p.name != "manifest.json"} == {
        p: state for p, state in others.items() if p.name != "manifest.json"
    }
    assert len(working(folders)) == 2  # demo with other settings, and the run


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
    before, work = state_of(folders[0]), Work(2.0)
    with pytest.warns(UserWarning) as noted:
        assert get(work)["error"][0] == 2
    told = [str(warning.message) for warning in noted]
    assert sum("demo.safetensors cannot be used" in text and "manifest" in text for text in told) == 1
    assert len(told) == 1 + (damage == "manifest")
    assert any("manifest.json is damaged" in text for text in told) == (damage == "manifest")
    assert work.runs == 1 and state_of(folders[0]) == before


@pytest.mark.parametrize("damage", ["file", "lost", "unlisted", "all lost"])
def test_a_published_run_that_is_not_whole_is_not_used(folders, damage):
    publish(folders)
    place = folders[0] / "smoke" / "imp_main"
    path = place / RUN[0]
    if damage == "file":
        path.write_bytes(b"")
    elif damage == "unlisted":  # as when publishing was killed before the manifest
        path = path.with_name("level_01.safetensors")
        path.write_bytes(b"new")
    elif damage == "lost":
        path.unlink()
    else:
        shutil.rmtree(place)
        path = place / "made.json"
    before = state_of(folders[0])
    with pytest.warns(UserWarning, match=re.escape(str(path))) as noted:
        assert records.published_runs("smoke") == {}
    assert len(noted) == 1 and state_of(folders[0]) == before


def test_publishing_what_was_interrupted_is_noticed(folders, monkeypatch):
    """Killed between the records and the manifest: the new file is not trusted, and the command goes on."""
    publish(folders)
    made = get(Work(3.0), recompute=True)
    original = store.write_bytes

    def killed(path, content):
        if Path(path).name == "manifest.json":
            raise Crash
        original(path, content)

    with monkeypatch.context() as patch, pytest.raises(Crash):
        patch.setattr(store, "write_bytes", killed)
        records.publish("smoke", {"demo": made})
    with pytest.warns(UserWarning, match="manifest"):
        assert get(Work(9.0))["error"][0] == 3  # from runs/, which is not gone
    records.publish("smoke", {"demo": get(Work(9.0), recompute=True)})
    assert get(Work(9.0))["error"][0] == 3


def test_the_work_folder_comes_from_the_environment(monkeypatch, tmp_path):
    """One for each preset, and for each revision of the code."""
    monkeypatch.setattr(records, "_REVISION", "01234567")
    monkeypatch.setenv("LOTTERYLIB_RUNS", str(tmp_path / "elsewhere"))
    assert records.work_folder("smoke") == tmp_path / "elsewhere" / "smoke" / "01234567"
    monkeypatch.delenv("LOTTERYLIB_RUNS")
    assert records.work_folder("book") == ROOT / "runs" / "book" / "01234567" and records.PUBLISHED == ROOT / "records"


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
