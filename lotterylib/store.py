"""Files that are whole or absent: safetensors written atomically, checked when read, and never a pickle."""

import dataclasses
import hashlib
import json
import os
import shutil
import tempfile
import warnings
from pathlib import Path
from urllib.parse import quote, unquote

import torch
from safetensors.torch import load, save

from . import checks

_PART = ".part"  # how the name of a file that is being written ends
_TRIES = 9  # to write a file that other processes sweep away


def key(description) -> str:
    """Hash of everything that determines a result: JSON-able values and dataclasses, nested as one likes.

    A changed default of a dataclass changes the key; a field that is added, with ``None`` for "as before", does not.
    """
    return hashlib.sha256(json.dumps(plain(description), sort_keys=True).encode()).hexdigest()[:16]


def plain(value):
    """Make dataclasses into dicts, leave out what is ``None``, and make numpy's numbers into Python's."""
    if dataclasses.is_dataclass(value):
        value = {field.name: getattr(value, field.name) for field in dataclasses.fields(value)}
    if isinstance(value, dict):
        return {str(name): plain(entry) for name, entry in value.items() if entry is not None}
    if isinstance(value, list | tuple):
        return [plain(entry) for entry in value]
    return value.item() if hasattr(value, "item") else value


def digest(tensors, text="") -> str:
    """SHA-256 over a text and the names, types, shapes and bytes of a ``dict[str, Tensor]``."""
    hasher = hashlib.sha256(text.encode())
    for name in sorted(tensors):
        tensor = tensors[name].detach().cpu().contiguous()
        hasher.update(f"{name}:{tensor.dtype}:{tuple(tensor.shape)};".encode())
        if tensor.numel():  # an empty one may have a stride that no view allows
            hasher.update(tensor.reshape(-1).view(torch.uint8).numpy())
    return hasher.hexdigest()


def sketch(tensors) -> dict:
    """Each tensor by its length and its projection on a fixed random direction, to six digits.

    It tells contents apart as ``digest`` does, but for their last bits, which differ between machines.
    """
    told = {}
    for name, tensor in tensors.items():
        values = tensor.detach().cpu().double().flatten()
        direction = torch.rand(len(values), dtype=torch.float64, generator=torch.Generator().manual_seed(0)) - 0.5
        length = float(values.norm())
        told[name] = f"{length:.5e} {float(values @ direction) / (length or 1):+.6f}"
    return told


def write_bytes(path, content: bytes):
    """Write a file so that at any moment either the old one or the whole new one is there.

    Raises ``OSError`` that names the file, as where the disk is full; what was written of it is removed.
    """
    path = Path(path)
    for left in reversed(range(_TRIES)):
        try:
            return _replace(path, content)
        except FileNotFoundError:  # another process has removed the folder meanwhile, or swept it
            if not left:
                raise
        except OSError as error:
            error.filename = str(path)  # that of writing names no file, that of making one only its part
            raise


def _replace(path, content):
    path.parent.mkdir(parents=True, exist_ok=True)
    handle, part = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.", suffix=_PART)
    try:
        with os.fdopen(handle, "wb") as file:
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
        os.chmod(part, 0o644)
        os.replace(part, path)
    except BaseException:
        Path(part).unlink(missing_ok=True)
        raise


def sweep(*folders):
    """Remove what processes that were killed have left half written in folders. One that lives writes it again."""
    for folder in folders:
        for part in Path(folder).glob(f".*{_PART}"):
            part.unlink(missing_ok=True)


def write(path, tree, about):
    """Save tensors in nested dicts, with ``about`` (JSON-able, with the entry ``"key"``), as ``.safetensors``."""
    # cloned, because safetensors refuses entries that share memory
    tensors = {name: tensor.detach().cpu().contiguous().clone() for name, tensor in _flat(tree)}
    text = json.dumps(about)
    metadata = {"about": text, "digest": digest(tensors, text), "name": Path(path).name}
    write_bytes(path, save(tensors, metadata))


def read(path, key=None, device="cpu", unpack=lambda tree, about: (tree, about)):
    """Load what ``write`` saved, as ``unpack(tree, about)`` makes it; ``None`` if there is no such file.

    Raises nothing for one that is damaged, was saved under another name, whose key is not ``key``, or for which
    ``unpack`` raises an exception: it gives ``None``, and a warning names it.
    """
    path = Path(path)
    try:
        content = path.read_bytes()  # at once: another process may replace the file meanwhile
        tensors = load(content)
        metadata = json.loads(content[8 : 8 + int.from_bytes(content[:8], "little")])["__metadata__"]
        about = json.loads(metadata["about"])
        if metadata["digest"] != digest(tensors, metadata["about"]):
            raise ValueError("its content does not match its checksum")
        if metadata.get("name", path.name) != path.name:  # files of the first editions have no name in them
            raise ValueError(f"it was saved as {metadata['name']}")
        if about["key"] != (about["key"] if key is None else key):
            raise ValueError("it belongs to other settings or to another dataset")
        return unpack(_nested({name: tensor.to(device) for name, tensor in tensors.items()}), about)
    except FileNotFoundError:
        return None
    except Exception as error:  # safetensors, torch and json have a dozen for what another hand wrote
        why = (str(error) or type(error).__name__).splitlines()[0]
        warnings.warn(f"{path} cannot be used ({why}); it will be computed again", stacklevel=2)
        return None


class Folder:
    """Files in ``path/<key>/``, beside the ``settings`` that the key stands for; no ``path``, nothing kept."""

    def __init__(self, path, settings, device="cpu"):
        self.key, self.settings, self.device = key(settings), settings, device
        checks.kind("checkpoint", "" if path is None else path, str, os.PathLike)
        self.path = None if path is None else Path(os.path.expanduser(path)) / self.key

    def open(self):
        """Make the folder, describe it, and sweep it. Raises ``ValueError`` if nothing can be written there."""
        if self.path:
            try:
                sweep(self.path)
                write_bytes(self.path / "settings.json", json.dumps(plain(self.settings), indent=1).encode() + b"\n")
            except OSError as error:
                where = f"checkpoint is {self.path.parent}, a folder that must be writable"
                raise ValueError(f"{where}: {error}") from error
        return self

    def load(self, name, unpack):
        """What ``save`` kept under this name, as ``unpack`` makes it: see ``read``."""
        return self.path and read(self.path / f"{name}.safetensors", self.key, self.device, unpack)

    def save(self, name, tree, **about):
        """Keep tensors in nested dicts, and what is said about them."""
        if self.path:
            write(self.path / f"{name}.safetensors", tree, {"key": self.key, **about})

    def drop(self, name):
        """Remove what lies in a folder of this name in it: what a training has kept that has come to its end."""
        if self.path:
            shutil.rmtree(self.path / name, ignore_errors=True)


def _flat(tree, prefix=""):
    for name, value in tree.items():
        path = prefix + quote(name, "").replace("__metadata__", "%5F_metadata__")  # which safetensors takes for its own
        yield from _flat(value, path + "/") if isinstance(value, dict) else [(path, value)]


def _nested(tensors):
    tree = {}
    for path, tensor in tensors.items():
        *folders, name = map(unquote, path.split("/"))
        node = tree
        for folder in folders:
            node = node.setdefault(folder, {})
        if name in node:
            raise ValueError(f"its entry {path!r} is there twice")
        node[name] = tensor
    return tree
