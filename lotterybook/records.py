"""Records: the derived numbers of an experiment, kept in files that say how they were made.

``records/`` holds what is published with the book. Only ``publish`` writes there; ``records/manifest.json`` lists every
file with its SHA-256, and what it does not list is not used. Whatever is computed lands in a folder for the preset and
the revision of the code, ``runs/book/1a2b3c4d/``, and is taken up again after an interruption by the same code alone.
What is published stays valid when the code changes, and says which revision made it.
"""

import contextlib
import fcntl
import hashlib
import json
import os
import platform
import time
import warnings
from datetime import datetime, timezone
from pathlib import Path
from typing import NamedTuple

import numpy
import torch

import lotterylib
from lotterylib import data, store

_HOME = Path(__file__).resolve().parent.parent
PUBLISHED = _HOME / "records"
_SHOWING = (  # modules of a room that compute no record
    "findings", "figures", "maps", "subspaces", "costs", "halves", "readings", "matching", "shapes", "cases", "rules",
    "sentences", "tables", "middle", "stability",
)  # fmt: skip


def revision(library, book) -> str:
    """Eight hex digits for the code that computes: a hash of ``lotterylib``, of presets and of the rooms' experiments.

    ``library`` and ``book`` are the folders of the two packages. Findings, figures and the like do not count.
    """
    library, book = Path(library), Path(book)
    rooms = [path for path in book.glob("*/*.py") if path.stem not in _SHOWING]
    shared = [book / f"{name}.py" for name in ("settings", "presets", "experiment", "jobs")]
    files = *library.rglob("*.py"), *shared, *rooms
    named = {path: path.relative_to(library.parent if path.is_relative_to(library) else book.parent) for path in files}
    return store.key({name.as_posix(): _sha256(path) for path, name in named.items() if path.exists()})[:8]


class Record(dict):
    """Arrays by name, as tensors on the CPU; ``about`` says when, how long, on what and from what they were made.

    ``path``: its file in ``runs/``, if it lies there.
    """

    def __init__(self, arrays, about, path=None):
        super().__init__(arrays)
        self.about, self.path = about, path


class Published(NamedTuple):
    """A published IMP run: the folder that ``imp.load`` reads, the revision that made it, a hash of its files."""

    path: Path
    made_by: str
    digest: str


def work_folder(preset) -> Path:
    """The folder of all that this revision of the code computes for a preset, in ``LOTTERYLIB_RUNS`` or ``runs``."""
    return Path(os.environ.get("LOTTERYLIB_RUNS") or _HOME / "runs") / preset / _REVISION


def key(name, settings, digest) -> str:
    """What identifies a record: its experiment, the settings that determine the result, and the data's digest."""
    return store.key([name, settings, digest])


def published(name, preset, settings, digest=None) -> Record | None:
    """The published record of an experiment, or ``None`` if there is none for these settings and data.

    ``digest``: that of the data; ``None`` where getting it could take a download, and then the record, which is whole,
    is taken by its settings, and names its data itself. A file that cannot be used gives a warning.
    """
    path = PUBLISHED / preset / f"{name}.safetensors"
    if not is_published(path) or not (found := store.read(path)):
        return None
    about = found[1]
    if about["key"] == key(name, settings, about.get("data") if digest is None else digest):
        return Record(*found)
    return _refused(path, "it was made with other settings or from other data")


def computed(path, key) -> Record | None:
    """The record in a file of a work folder, or ``None`` if there is none; a damaged one gives a warning."""
    found = store.read(path, key)
    return Record(*found, path) if found else None


def load_or_compute(name, preset, settings, digest, compute, basis="", device="auto", folder=None) -> Record:
    """The record of an experiment from ``runs/``, as far as this revision of the code made it, else by ``compute()``.

    ``compute`` returns a ``dict[str, Tensor]``, and a dict of what else to say about it. ``basis`` tells apart what one
    revision computes from different published runs. ``folder``: the preset's work folder, unless another is given.
    """
    own = key(name, settings, digest)
    path = (folder or work_folder(preset)) / name / f"{own}{basis}.safetensors"
    interrupted = path.with_suffix(".seconds")  # that an interrupted computation took: what is left of it counts too
    begun = store.read(interrupted, own)
    store.sweep(path.parent)
    if found := computed(path, own):
        if begun:
            interrupted.unlink(missing_ok=True)
        return found
    spent = begun[1]["seconds"] if begun else 0
    try:
        store.write(interrupted, {}, {"key": own, "seconds": spent})
    except OSError as error:  # told before all is computed, not after
        raise ValueError(f"LOTTERYLIB_RUNS, or runs/, must be a folder that is writable: {error}") from error
    begin = time.perf_counter() - spent
    try:
        arrays, more = compute()
        arrays = {name: torch.as_tensor(value).cpu() for name, value in arrays.items()}
        about = {"key": own, "experiment": name, "preset": preset, "settings": store.plain(settings), "data": digest}
        about |= {**more, "seconds": round(time.perf_counter() - begin, 1), **provenance(device)}
        store.write(path, arrays, about)
    except BaseException:
        with contextlib.suppress(OSError):  # what stopped the computation is what is told
            store.write(interrupted, {}, {"key": own, "seconds": time.perf_counter() - begin})
        raise
    interrupted.unlink(missing_ok=True)
    return Record(arrays, about, path)


def provenance(device="auto") -> dict:
    """What a computation on this device runs on: versions, device, threads, date.

    The library's own version ends in the ``revision`` of the code that computes, as it was when imported.
    """
    device, threads = data.find_device(device), torch.get_num_threads()
    cpu = f"CPU ({platform.machine()}, {os.cpu_count()} cores, {threads} threads)"
    return {
        "versions": {
            "lotterylib": VERSION, "torch": torch.__version__, "numpy": numpy.__version__,
            "python": platform.python_version(),
        },
        "device": torch.cuda.get_device_name(device) if device.type == "cuda" else cpu,
        "threads": threads,
        "date": datetime.now(timezone.utc).date().isoformat(),
    }  # fmt: skip


def is_published(path) -> bool:
    """True if ``path`` is a file of ``records/`` that the manifest lists, whole; a damaged one gives a warning."""
    listed = _manifest().get(path.relative_to(PUBLISHED).as_posix())
    if not path.exists() and listed is None:
        return False
    if path.is_file() and listed == _sha256(path):
        return True
    return bool(_refused(path, "it is not what records/manifest.json lists"))


def published_runs(preset) -> dict:
    """The published IMP runs of a preset, each a ``Published``, by name; one that is not whole gives a warning."""
    there = {path.relative_to(PUBLISHED).as_posix() for path in _files(PUBLISHED / preset)}
    inside = [name.split("/") for name in sorted({*_manifest(), *there}) if name.startswith(f"{preset}/")]
    found = {}
    for run in dict.fromkeys(parts[1] for parts in inside if len(parts) > 2):
        folder = PUBLISHED / preset / run
        files = [folder / "made.json", *(PUBLISHED.joinpath(*parts) for parts in inside if parts[1] == run)]
        if all(is_published(path) for path in files):
            made_by = json.loads(files[0].read_text())["versions"]["lotterylib"]
            found[run] = Published(folder, made_by, store.key({path.name: _sha256(path) for path in files}))
    return found


def publish(preset, made, runs=None, device="auto"):
    """Publish records, and with ``runs`` IMP runs from the folders of their files, each by name; nothing else.

    A run takes the place of the one that had its name. The manifest is written last: until then it lists what was there
    before, and what is new is not used. The records' files in ``runs/`` are removed. Processes publish in turn.
    """
    PUBLISHED.mkdir(parents=True, exist_ok=True)
    with _locked(PUBLISHED, fcntl.LOCK_EX):
        _publish(preset, made, runs or {}, device)
    for record in made.values():
        record.path.unlink(missing_ok=True)


def _publish(preset, made, runs, device):
    target = PUBLISHED / preset
    for name, record in made.items():
        store.write(target / f"{name}.safetensors", record, record.about)
    fresh = [target / f"{name}.safetensors" for name in made]
    for name, folder in runs.items():
        contents = {f"{folder.name}/{path.name}": path.read_bytes() for path in _files(folder)}
        contents["made.json"] = json.dumps({"run": name, **provenance(device)}, indent=1).encode() + b"\n"
        for file, content in contents.items():
            store.write_bytes(target / name / file, content)
            fresh.append(target / name / file)
    replaced = tuple(f"{preset}/{name}/" for name in runs)
    manifest = {name: listed for name, listed in _manifest().items() if not name.startswith(replaced)}
    manifest |= {path.relative_to(PUBLISHED).as_posix(): _sha256(path) for path in fresh}
    store.write_bytes(PUBLISHED / "manifest.json", json.dumps(manifest, indent=1, sort_keys=True).encode() + b"\n")
    store.sweep(PUBLISHED, target, *(folder for name in runs for folder in (target / name).rglob("*")))
    for path in [path for name in runs for path in _files(target / name) if path not in fresh]:
        path.unlink()
        if not any(path.parent.iterdir()):
            path.parent.rmdir()


@contextlib.contextmanager
def reserved(preset, alone):
    """Reserve the work folder of a preset, ``alone`` or together with others, until the process ends in any way.

    Raises ``ValueError`` if other processes make its records, or if nothing could be written or published.
    """
    folder = work_folder(preset).parent
    for needed in (folder, PUBLISHED):
        with contextlib.suppress(OSError):
            needed.mkdir(parents=True, exist_ok=True)
        if not os.access(needed, os.W_OK | os.X_OK):
            raise ValueError(f"{needed} must be a folder that is writable")
    with contextlib.ExitStack() as held:
        try:
            held.enter_context(_locked(folder, (fcntl.LOCK_EX if alone else fcntl.LOCK_SH) | fcntl.LOCK_NB))
        except BlockingIOError as error:
            raise ValueError(f"another process makes records of {preset} in {folder}; let it end first") from error
        yield


@contextlib.contextmanager
def _locked(folder, how):
    """Hold a lock on a folder, which the system takes back from a process that is killed."""
    handle = os.open(folder, os.O_RDONLY)
    try:
        fcntl.flock(handle, how)
        yield
    finally:
        os.close(handle)


def _files(folder):
    """The files in a folder and below it, without those that a crash left half written, and links to others."""
    paths = [path for path in sorted(folder.rglob("*")) if path.is_file() and not path.is_symlink()]
    return [path for path in paths if not path.name.startswith(".")]


def _refused(path, why):
    warnings.warn(f"{path} cannot be used: {why}. What it should hold is computed in runs/", stacklevel=4)


def _manifest():
    path = PUBLISHED / "manifest.json"
    try:
        listed = dict(json.loads(path.read_text()))
        if any(".." in name.split("/") or name.startswith("/") for name in listed):
            raise ValueError("a name leads out of the folder")
        return listed
    except FileNotFoundError:
        return {}
    except (ValueError, TypeError, AttributeError, RecursionError, OSError):
        warnings.warn(f"{path} is damaged; no published record can be trusted", stacklevel=4)
        return {}


def _sha256(path):
    return hashlib.sha256(path.read_bytes()).hexdigest()


_REVISION = revision(Path(lotterylib.__file__).parent, Path(__file__).parent)
VERSION = f"{lotterylib.__version__}+{_REVISION}"
