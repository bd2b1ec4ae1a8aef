"""Records: the derived numbers of an experiment, kept in files that say how they were made.

``records/`` holds what is published with the book, listed with its SHA-256 in ``records/manifest.json``. ``runs/`` is
the work folder: whatever is computed lands there and is taken up again after an interruption.
"""

import hashlib
import json
import os
import platform
import time
import warnings
from datetime import datetime, timezone
from pathlib import Path

import numpy
import torch

import lotterylib
from lotterylib import store

_HOME = Path(__file__).resolve().parent.parent
PUBLISHED = _HOME / "records"


def revision(*folders) -> str:
    """Eight hex digits that tell revisions of packages apart: a hash of the Python files in their folders."""
    files = {
        path.relative_to(Path(folder).parent).as_posix(): _sha256(path)
        for folder in folders for path in Path(folder).rglob("*.py")
    }  # fmt: skip
    return store.key(files)[:8]


class Record(dict):
    """Arrays by name, as tensors on the CPU; ``about`` says when, how long, on what and from what they were made."""

    def __init__(self, arrays, about):
        super().__init__(arrays)
        self.about = about


def work_folder() -> Path:
    """The folder of everything computed here: ``LOTTERYLIB_RUNS``, or ``runs`` beside ``records``."""
    return Path(os.environ.get("LOTTERYLIB_RUNS") or _HOME / "runs")


def load_or_compute(name, preset, settings, compute, recompute=False, data=None) -> Record:
    """Return the record of an experiment, from ``records/``, else from ``runs/``, else by calling ``compute()``.

    ``settings``: everything that determines the result; a file made with others is refused, with a warning.
    ``compute`` returns a ``dict[str, Tensor]``. ``recompute=True`` passes over ``records/``. ``data``: a function that
    gives the dataset's fingerprint, called only if the experiment is run.
    """
    key = store.key([name, settings])
    published, working = PUBLISHED / preset / f"{name}.safetensors", work_folder() / preset / f"{name}.safetensors"
    for path in (working,) if recompute else (published, working):
        if (path != published or is_published(path)) and (found := store.read(path, key)):
            return Record(*found)
    begin = time.perf_counter()
    arrays = {name: torch.as_tensor(value).cpu() for name, value in compute().items()}
    about = {"key": key, "experiment": name, "preset": preset, "settings": store.plain(settings)}
    about["data"] = data and data()
    about |= {"seconds": round(time.perf_counter() - begin, 1), **provenance()}
    store.write(working, arrays, about)
    return Record(arrays, about)


def provenance() -> dict:
    """What the present process runs on: versions, device, cores, date.

    The library's own version ends in the ``revision`` of its files and of the book's, as they were when imported.
    """
    cuda = torch.cuda.is_available()
    return {
        "versions": {
            "lotterylib": _VERSION, "torch": torch.__version__, "numpy": numpy.__version__,
            "python": platform.python_version(),
        },
        "device": torch.cuda.get_device_name() if cuda else f"CPU ({platform.machine()}, {os.cpu_count()} cores)",
        "date": datetime.now(timezone.utc).date().isoformat(),
    }  # fmt: skip


def is_published(path) -> bool:
    """True if ``path`` is a file of ``records/`` that the manifest lists, whole; a damaged one gives a warning."""
    listed = _manifest().get(path.relative_to(PUBLISHED).as_posix())
    if not path.exists() and listed is None:
        return False
    if path.exists() and listed == _sha256(path):
        return True
    warnings.warn(f"{path} cannot be used (it is not what records/manifest.json lists)", stacklevel=3)
    return False


def checkpoint_folder(preset, name, recompute=False) -> Path:
    """Where the checkpoint folder ``name`` of a preset is read and written: published if whole, else in ``runs/``."""
    published = PUBLISHED / preset / name
    if not recompute and published.is_dir() and all(is_published(path) for path in _listed(published)):
        return published
    return work_folder() / preset / name


def publish(preset, names):
    """Move a preset's finished records and the folders in ``names`` from ``runs/`` to ``records/``; list them."""
    source, target = work_folder() / preset, PUBLISHED / preset
    folders = [source, *(source / name for name in names)]
    fresh = [path for folder in folders for path in sorted(folder.glob("*.safetensors"))]
    for path in fresh:
        store.write_bytes(target / path.relative_to(source), path.read_bytes())
    manifest = {path.relative_to(PUBLISHED).as_posix(): _sha256(path) for path in PUBLISHED.rglob("*.safetensors")}
    store.write_bytes(PUBLISHED / "manifest.json", json.dumps(manifest, indent=1, sort_keys=True).encode() + b"\n")
    for path in fresh:
        path.unlink()


def _listed(folder):
    prefix = folder.relative_to(PUBLISHED).as_posix() + "/"
    return [PUBLISHED / name for name in _manifest() if name.startswith(prefix)]


def _manifest():
    path = PUBLISHED / "manifest.json"
    try:
        return dict(json.loads(path.read_text()))
    except FileNotFoundError:
        return {}
    except (ValueError, TypeError):
        warnings.warn(f"{path} is damaged; no published record can be trusted", stacklevel=4)
        return {}


def _sha256(path):
    return hashlib.sha256(path.read_bytes()).hexdigest()


_VERSION = f"{lotterylib.__version__}+{revision(Path(lotterylib.__file__).parent, Path(__file__).parent)}"
