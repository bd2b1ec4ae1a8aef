"""Whatever happens at whatever moment, the next start ends with the same bits and leaves nothing half written.

Each has a quick form and, with the mark ``soak``, a full one, whose counts ``make soak`` prints and keeps in the book.
"""

import contextlib
import datetime
import functools
import os
import random
import re
import resource
import shutil
import subprocess
import sys
import warnings
from pathlib import Path
from types import SimpleNamespace

import crashes
import pytest
import soak
import torch
from crashes import ROOT, contents, damaged
from soak import forms, tally

from lotterybook import __main__ as command
from lotterybook import records
from lotterylib import imp, sgd, store, training


@pytest.fixture(scope="module")
def whole(tmp_path_factory):
    """What each work leaves when nobody interrupts it, and how long it takes, by its name."""
    made = {}

    def of(work):
        if work not in made:
            folder = tmp_path_factory.mktemp(work.__name__)
            taken = crashes.seconds(lambda: crashes.start(work, folder))
            made[work] = contents(folder), taken
        return made[work]

    return of


LONG = 8  # seconds, about what one of the commands takes


def counted(what, moments, wrong):
    """Note in the table what was tried, and fail if anything was lost."""
    lost = len(wrong)
    tally("Killed at random moments", what=what, tried=moments, survived=moments - lost, lost=lost)
    assert not wrong


# Killed


@forms("moments", 2, 100)
@pytest.mark.parametrize("work", [crashes.run, crashes.make], ids=lambda work: work.__name__)
def test_killed_it_goes_on_and_ends_with_the_same_bits(tmp_path, whole, work, moments):
    expected, longest = whole(work)

    def ended():
        found = contents(tmp_path)
        shutil.rmtree(tmp_path)
        tmp_path.mkdir()
        return [] if found == expected else [f"{work.__name__} left other files: {sorted(found)}"]

    wrong = crashes.kill_and_go_on(
        lambda: crashes.start(work, tmp_path), moments, longest, 1, lambda: damaged(tmp_path), ended
    )
    counted({crashes.run: "An IMP run", crashes.make: "`make records`"}[work], moments, wrong)


@forms("moments", 5, 100)
def test_a_record_killed_while_it_is_written_is_the_old_one_the_new_one_or_none(folders, tmp_path, whole, moments):
    """The one that is published is replaced by one of other settings."""
    values = 1.0, 2.0
    crashes.start(crashes.record, tmp_path, values[0]).join()
    expected = {name: told for name, told in contents(tmp_path).items() if not name.startswith("runs")}
    longest = crashes.seconds(lambda: crashes.start(crashes.record, tmp_path, values[1]))

    def left():
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # that the manifest does not list it yet
            found = {value: records.published("demo", "smoke", {"lr": value}, "data") for value in values}
        wrong = [value for value, one in found.items() if one and not bool((one["error"] == value).all())]
        return damaged(tmp_path) + [f"a record of other settings is served for {value}" for value in wrong]

    def ended():
        found = contents(tmp_path)
        again = bool((records.published("demo", "smoke", {"lr": values[1]}, "data")["error"] == values[1]).all())
        crashes.start(crashes.record, tmp_path, values[0]).join()
        return [] if again and set(found) == set(expected) else [f"a record left {sorted(found)}"]

    wrong = crashes.kill_and_go_on(
        lambda: crashes.start(crashes.record, tmp_path, values[1]), moments, longest, 2, left, ended
    )
    counted("A record that is computed and published", moments, wrong)


def set_up(folder):
    """Let the environment in a folder count as finished, by what the Makefile itself asks it for."""
    question = (ROOT / "Makefile").read_text().split("define KEY_PY\n")[1].split("endef")[0]
    question = question.replace("$(PINS)", "requirements.txt")
    command = [folder / ".venv" / "bin" / "python", "-c", question]
    key = subprocess.run(command, cwd=folder, capture_output=True, text=True, check=True)
    (folder / ".venv" / ".set-up").write_text(key.stdout)


def small_book(folder):
    """A book of one chapter with the real book's Makefile, and an environment that borrows this one's packages."""
    python = folder / ".venv" / "bin" / "python"
    python.parent.mkdir(parents=True)
    python.write_text(f'#!/bin/sh\nexec "{sys.executable}" "$@"\n')
    python.chmod(0o755)
    for name in ("Makefile", "requirements.txt", "pyproject.toml"):
        shutil.copy(ROOT / name, folder)
    (folder / "_config.yml").write_text("title: Small\nexecute:\n  execute_notebooks: force\n")
    (folder / "_toc.yml").write_text("format: jb-book\nroot: intro\n")
    (folder / "intro.md").write_text(
        "---\nkernelspec: {name: python3, display_name: Python 3}\njupytext: {text_representation: {extension: .md, "
        "format_name: myst}}\n---\n# Small\n\n```{code-cell}\nprint(6 * 7)\n```\n"
    )
    set_up(folder)


@pytest.mark.skipif(not shutil.which("make"), reason="make is not installed")
@forms("moments", 1, 10)
def test_make_book_goes_on_after_it_was_killed(tmp_path, moments):
    small_book(tmp_path)
    before = {path.name for path in tmp_path.iterdir()}

    def begin():
        return crashes.Command(["make", "book"], cwd=tmp_path)

    def ended():
        page = tmp_path / "_build" / "html" / "intro.html"
        right = page.exists() and "42" in page.read_text()
        new = {path.name for path in tmp_path.iterdir()} - before
        shutil.rmtree(tmp_path / "_build")
        return [] if right and new == {"_build"} else [f"make book left {sorted(new)}, the page is whole: {right}"]

    wrong = crashes.kill_and_go_on(begin, moments, LONG, 3, ended=ended)
    counted("`make book`, of one page", moments, wrong)


BACKEND = '''\
"""Builds what is installed without a network: a wheel with one module, and one that leads to it."""
import pathlib, zipfile

def build_wheel(folder, config_settings=None, metadata_directory=None):
    name = pathlib.Path.cwd().name.replace("-", "_").lower()
    about = f"{name}-1.0.dist-info"
    with zipfile.ZipFile(pathlib.Path(folder) / f"{name}-1.0-py3-none-any.whl", "w") as wheel:
        wheel.writestr(f"{name}_module.py", "whole = True\\n" + "# long\\n" * 100_000)
        wheel.writestr(f"{about}/METADATA", f"Metadata-Version: 2.1\\nName: {name}\\nVersion: 1.0\\n")
        wheel.writestr(f"{about}/WHEEL", "Wheel-Version: 1.0\\nRoot-Is-Purelib: true\\nTag: py3-none-any\\n")
        wheel.writestr(f"{about}/RECORD", "")
    return f"{name}-1.0-py3-none-any.whl"

build_editable = build_wheel
'''


def small_project(folder):
    """The real Makefile, and requirements that are installed from beside it."""
    folder.mkdir()
    shutil.copy(ROOT / "Makefile", folder)
    for place in (folder, folder / "needed"):
        place.mkdir(exist_ok=True)
        (place / "backend.py").write_text(BACKEND)
        (place / "pyproject.toml").write_text(
            '[build-system]\nrequires = []\nbuild-backend = "backend"\nbackend-path = ["."]\n'
        )
    (folder / "requirements.txt").write_text("./needed\n")
    return {**os.environ, "PIP_NO_INDEX": "1", "PYTHON": sys.executable}


def killed_while_clearing(folder, environment):
    """What is left when a set-up, begun anew after an interruption, is killed while it clears the environment."""
    subprocess.run([sys.executable, "-m", "venv", "--without-pip", ".venv"], cwd=folder, check=True)
    set_up(folder)
    (folder / ".venv" / ".set-up-unfinished").touch()
    python = folder.parent / "python"
    python.write_text('#!/bin/sh\n[ "$1" = -c ] || { rm -rf .venv/lib .venv/.set-up-unfinished; kill -9 $PPID; }\n')
    python.chmod(0o755)
    environment = {**environment, "PYTHON": str(python)}
    done = subprocess.run(["make", "setup"], cwd=folder, env=environment, capture_output=True)
    assert done.returncode and not (folder / ".venv" / "lib").exists()


@pytest.mark.skipif(not shutil.which("make"), reason="make is not installed")
@forms("moments", 1, 10)
def test_the_set_up_goes_on_after_it_was_killed(tmp_path, moments):
    folder = tmp_path / "small"
    environment = small_project(folder)

    def ended():
        again = subprocess.run(["make", "setup"], cwd=folder, env=environment, capture_output=True, text=True)
        use = [".venv/bin/python", "-c", "import needed_module, small_module"]
        works = not subprocess.run(use, cwd=folder, capture_output=True).returncode
        names = {path.name for path in (folder / ".venv").rglob("*")}
        left = [name for name in names if name.startswith("~") or name.startswith(".set-up") and name != ".set-up"]
        shutil.rmtree(folder / ".venv")
        return [] if works and not left and not again.stdout else [f"it works: {works}, left: {left}, {again.stdout}"]

    def begin():
        return crashes.Command(["make", "setup"], cwd=folder, env=environment)

    killed_while_clearing(folder, environment)
    wrong = crashes.kill_and_go_on(begin, moments, LONG, 4, ended=ended)
    counted("The set-up, of small packages", moments, wrong)


# Several processes at once


@forms("counts", (2,), (2, 3))
@pytest.mark.parametrize("killed", [0, 1], ids=["all live", "one killed"])
def test_several_processes_share_a_run(tmp_path, whole, counts, killed):
    for count in counts:
        share(tmp_path / str(count), *whole(crashes.run), count, killed)


def share(tmp_path, expected, longest, count, killed):
    processes = [crashes.start(crashes.run, tmp_path) for _ in range(count)]
    for process in processes[:killed]:
        process.join(random.Random(count).uniform(0, longest))
        process.kill()
    for process in processes:
        process.join()
    assert [process.exitcode for process in processes[killed:]] == [0] * (count - killed)
    crashes.start(crashes.run, tmp_path).join()  # what a killed one left is gone with the next start
    lost = contents(tmp_path) != expected
    tally("Several processes at once", what=f"{count} on one IMP run, {killed} of them killed", lost=int(lost))
    assert not lost


def test_two_processes_publish_in_turn(folders, monkeypatch):
    """Both are in the manifest: neither takes what it read of it before the other wrote it."""
    original, other = store.write_bytes, []

    def write(path, content):
        if Path(path).name == "manifest.json" and not other:
            other.append(crashes.start(crashes.record, folders[0].parent, 2.0, 10))
            other[0].join(1)
            assert other[0].is_alive(), "it waits"
        original(path, content)

    monkeypatch.setattr(store, "write_bytes", write)
    made = records.load_or_compute("another", "smoke", {}, "data", lambda: ({"error": torch.zeros(2)}, {}))
    records.publish("smoke", {"another": made}, device="cpu")
    other[0].join()
    assert set(contents(folders[0])["manifest.json"]) == {"smoke/another.safetensors", "smoke/demo.safetensors"}
    assert other[0].exitcode == 0


def test_records_of_a_preset_are_made_by_one_process(folders, capsys):
    """Unless each makes only some of them; and one that is killed leaves no lock behind."""
    with records.reserved("smoke", alone=True), pytest.raises(SystemExit):
        command.main(["--preset", "smoke"])
    assert "another process makes records of smoke in" in capsys.readouterr().err

    def refused():
        with pytest.raises(ValueError, match="another process makes"), records.reserved("smoke", alone=True):
            pass

    with records.reserved("smoke", alone=False), records.reserved("smoke", alone=False):
        refused()
    process = crashes.start(crashes.hold, folders[0].parent)
    while not (folders[0].parent / "held").exists():
        process.join(0.05)
        assert process.exitcode is None
    refused()
    process.kill()
    process.join()
    with records.reserved("smoke", alone=True):
        pass


# Disks


def mounted(*arguments):
    done = subprocess.run(["mount", *arguments], capture_output=True, text=True)
    if done.returncode:
        pytest.skip(f"may not mount: {done.stderr.strip()}")


@contextlib.contextmanager
def small_disk(folder, size):
    """A disk of this many bytes; gives what makes it large."""
    folder.mkdir()
    mounted("-t", "tmpfs", "-o", f"size={size}", "tmpfs", str(folder))
    try:
        yield lambda: mounted("-o", "remount,size=100m", str(folder))
    finally:
        subprocess.run(["umount", folder], check=True)


@contextlib.contextmanager
def short_files(folder, size):
    """What needs no rights: no file may become longer than this; gives what ends that."""
    folder.mkdir()
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)

    def allow():
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))

    resource.setrlimit(resource.RLIMIT_FSIZE, (size, hard))
    try:
        yield allow
    finally:
        allow()


@contextlib.contextmanager
def read_only(folder):
    """A folder in which nothing can be written: to root that is no question of permissions."""
    folder.mkdir(parents=True, exist_ok=True)
    root = os.geteuid() == 0
    if root:
        mounted("--bind", str(folder), str(folder))
        mounted("-o", "remount,ro,bind", str(folder))
    else:
        for path in [folder, *(path for path in folder.rglob("*") if path.is_dir())]:
            path.chmod(0o500)
    try:
        yield
    finally:
        if root:
            subprocess.run(["umount", folder], check=True)
        else:
            for path in [folder, *(path for path in folder.rglob("*") if path.is_dir())]:
                path.chmod(0o700)


@pytest.mark.parametrize("disk", [small_disk, short_files])
def test_a_full_disk_is_told_and_a_run_goes_on_when_there_is_room(tmp_path, disk):
    crashes.run(tmp_path / "plain")
    expected, folder = contents(tmp_path / "plain"), tmp_path / "disk"
    sizes = [path.stat().st_size for path in (tmp_path / "plain").rglob("*.safetensors")]
    size = max(sizes) - 1 if disk is short_files else 4096 * (len(sizes) + 2)  # room for settings, not for all levels
    with disk(folder, size) as make_room:
        with pytest.raises(OSError, match=r"(No space left on device|File too large): '.*/\w+\.safetensors'"):
            crashes.run(folder)
        assert not damaged(folder) and not any(name.endswith(".part") for name in contents(folder))
        make_room()
        crashes.run(folder)
        assert contents(folder) == expected


@pytest.mark.parametrize("disk", [small_disk, short_files])
def test_a_record_that_finds_no_room_is_told_and_computed_again(tmp_path, folders, disk, monkeypatch):
    with disk(tmp_path / "disk", 40_000) as make_room:
        monkeypatch.setenv("LOTTERYLIB_RUNS", str(tmp_path / "disk"))
        get = ("demo", "smoke", {}, "data", lambda: ({"error": torch.ones(20_000)}, {}))
        with pytest.raises(OSError, match=r"(No space left|File too large).*: '.*\.safetensors'"):
            records.load_or_compute(*get)
        assert not damaged(tmp_path) and not any(name.endswith(".part") for name in contents(tmp_path))
        make_room()
        assert records.load_or_compute(*get)["error"].sum() == 20_000
        with warnings.catch_warnings():
            warnings.simplefilter("error")
            assert records.load_or_compute(*get[:4], None)["error"].sum() == 20_000


def test_a_folder_that_becomes_read_only_is_told_and_a_run_goes_on_later(tmp_path, whole):
    folder = tmp_path / "run"
    path = imp.levels(*crashes.described(), checkpoint=folder)
    next(path)
    with read_only(folder):
        for go_on in (lambda: next(path), lambda: crashes.run(folder)):
            with pytest.raises(ValueError, match=f"checkpoint is {folder}.*, a folder that must be writable"):
                go_on()
    crashes.run(folder)
    assert contents(folder) == whole(crashes.run)[0]
    with read_only(folder):
        assert len(imp.load(*crashes.described(), folder)) == 3  # what is finished can be read


@pytest.mark.parametrize("name", ["runs", "records"])
def test_records_are_refused_before_anything_is_computed_where_nothing_can_be_written(folders, capsys, name):
    crashes.record(folders[0].parent, size=10)  # published before
    folder, needed = {"records": (folders[0], folders[0]), "runs": (folders[1], folders[1] / "smoke")}[name]
    with read_only(folder):
        with pytest.raises(SystemExit):
            command.main(["--preset", "smoke"])
        assert f"{needed} must be a folder that is writable" in capsys.readouterr().err
        assert records.published("demo", "smoke", {"lr": 1.0}, "data")["error"].sum() == 10
        if name == "runs":
            with pytest.raises(ValueError, match=r"LOTTERYLIB_RUNS, or runs/, must be a folder that is writable"):
                records.load_or_compute("demo", "smoke", {"lr": 3.0}, "data", None)


# Clocks


def test_clocks_that_jump_change_no_result(tmp_path, monkeypatch, whole, folders):
    """Neither the date nor the time that a run is kept by decides what is computed, or what is served."""
    draw = random.Random(5)
    clock = SimpleNamespace(monotonic=lambda: draw.choice((-1, 1)) * draw.uniform(0, 1e9))
    for module in (training, sgd):
        monkeypatch.setattr(module, "time", clock)
    crashes.run(tmp_path / "run")
    assert contents(tmp_path / "run") == whole(crashes.run)[0]
    for year in (2030, 1970, 2999):
        now = datetime.datetime(year, 1, 1, tzinfo=datetime.timezone.utc)
        monkeypatch.setattr(records, "datetime", SimpleNamespace(now=lambda zone, now=now: now))
        crashes.record(folders[0].parent, size=10)
        found = records.published("demo", "smoke", {"lr": 1.0}, "data")
        assert found.about["date"] == now.date().isoformat() and found["error"].sum() == 10


# What was tried


def test_the_page_takes_the_tables(tmp_path, monkeypatch):
    """In place of those before; and what the page says now was not lost."""
    page, kept = tmp_path / "page.md", (ROOT / "chapters" / "reliability.md").read_text()
    page.write_text(kept)
    monkeypatch.setattr(soak, "TABLES", {})
    for tried in (3, 4):
        soak.TABLES.clear()
        soak.tally("Killed", what="a run", tried=tried, lost=0)
        soak.keep(page)
    assert "\n\n**Killed**\n\n| what | tried | lost |\n| --- | --- | --- |\n| a run | 4 | 0 |\n\n" in page.read_text()
    assert "| 3 |" not in page.read_text() and page.read_text().startswith(kept.split("<!-- soak -->")[0])
    for table in re.findall(r"(?m)^\| .*\n\| -.*\n(?:\|.*\n)+", kept):
        head, _, *rows = ([cell.strip() for cell in line.split("|")] for line in table.splitlines())
        for column in {"lost", "used"} & set(head):
            assert {row[head.index(column)] for row in rows} == {"0"}


def test_make_soak_is_understood_and_finds_the_full_forms():
    """Its own command, but for running them: what pytest does not know there ends it before the first test."""
    run = functools.partial(subprocess.run, cwd=ROOT, shell=True, capture_output=True, text=True, timeout=300)
    (line,) = (line for line in run("make -n soak").stdout.splitlines() if " -m soak " in line)
    done = run(f"{line} --collect-only -q")
    assert done.returncode == 0, done.stderr
    assert "test_crashes.py" in done.stdout and "quick" not in done.stdout
