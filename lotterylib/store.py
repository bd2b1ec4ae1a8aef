"""Files that are whole or absent: safetensors written atomically, checked when read, and never a pickle."""

import dataclasses
import hashlib
import json
import os
import tempfile
import warnings
from pathlib import Path

import torch
from safetensors import SafetensorError
from safetensors.torch import load, save


def key(description) -> str:
    """Hash of everything that determines a result: JSON-able values and dataclasses, nested as one likes.

    A dataclass counts with those fields that differ from their defaults, so a field added later changes no key.
    """
    return hashlib.sha256(json.dumps(plain(description), sort_keys=True).encode()).hexdigest()[:16]


def plain(value):
    """Make dataclasses into dicts of their non-default fields, and numpy's numbers into Python's."""
    if dataclasses.is_dataclass(value):
        entries = {field.name: (getattr(value, field.name), field.default) for field in dataclasses.fields(value)}
        return {name: plain(entry) for name, (entry, default) in entries.items() if entry != default}
    if isinstance(value, dict):
        return {name: plain(entry) for name, entry in value.items()}
    if isinstance(value, list | tuple):
        return [plain(entry) for entry in value]
    return value.item() if hasattr(value, "item") else value


def digest(tensors, text="") -> str:
    """SHA-256 over a text and the names, types, shapes and bytes of a ``dict[str, Tensor]``."""
    hasher = hashlib.sha256(text.encode())
    for name in sorted(tensors):
        tensor = tensors[name].detach().cpu().contiguous()
        hasher.update(f"{name}:{tensor.dtype}:{tuple(tensor.shape)};".encode())
        hasher.update(tensor.reshape(-1).view(torch.uint8).numpy())
    return hasher.hexdigest()


def write_bytes(path, content: bytes):
    """Write a file so that at any moment either the old one or the whole new one is there."""
    path = Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    handle, part = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.")
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


def write(path, tree, about):
    """Save tensors in nested dicts, with ``about`` (JSON-able, with the entry ``"key"``), as ``.safetensors``."""
    tensors = {  # cloned, because safetensors refuses entries that share memory
        name: tensor.detach().cpu().clone(memory_format=torch.contiguous_format) for name, tensor in _flat(tree)
    }
    text = json.dumps(about)
    write_bytes(path, save(tensors, metadata={"about": text, "digest": digest(tensors, text)}))


def read(path, key=None, device="cpu"):
    """Load what ``write`` saved: ``(tree, about)``, or ``None`` if there is no such file.

    Raises nothing for a file that is damaged, or whose key is not ``key``: it also gives ``None``, with a warning that
    names it, and the caller then computes the content again.
    """
    path = Path(path)
    if not path.exists():
        return None
    try:
        content = path.read_bytes()  # at once: another process may replace the file meanwhile
        tensors = load(content)
        metadata = json.loads(content[8 : 8 + int.from_bytes(content[:8], "little")])["__metadata__"]
        about = json.loads(metadata["about"])
        if metadata["digest"] != digest(tensors, metadata["about"]):
            raise ValueError("its content does not match its checksum")
        if key is not None and about["key"] != key:
            raise ValueError("it belongs to other settings or to another dataset")
    except (SafetensorError, ValueError, KeyError, TypeError, OSError) as error:
        warnings.warn(f"{path} cannot be used ({error}); it will be computed again", stacklevel=2)
        return None
    return _nested({name: tensor.to(device) for name, tensor in tensors.items()}), about


def _flat(tree, prefix=""):
    for name, value in tree.items():
        if isinstance(value, dict):
            yield from _flat(value, f"{prefix}{name}/")
        else:
            yield prefix + name, value


def _nested(tensors):
    tree = {}
    for path, tensor in tensors.items():
        *folders, name = path.split("/")
        node = tree
        for folder in folders:
            node = node.setdefault(folder, {})
        node[name] = tensor
    return tree
