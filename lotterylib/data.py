"""Datasets as tensors on the device.

A training batch is an index gather, normalised (and for CIFAR augmented) where the tensors lie, so no worker process
and no host copy stands between two training steps.
"""

import hashlib
import os
import random
import zipfile
import zlib
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import numpy as np
import torch

from . import checks, store

NAMES = ("mnist1d", "digits", "mnist", "fashion_mnist", "cifar10", "cifar100")  # what ``load`` takes, besides a path
_TORCHVISION = {"mnist": "MNIST", "fashion_mnist": "FashionMNIST", "cifar10": "CIFAR10", "cifar100": "CIFAR100"}
_PAD = 4  # pixels of the random crop
_OFFSETS = 2 * _PAD + 1
_VIEWS = 2 * _OFFSETS**2


@dataclass(frozen=True, eq=False)
class Dataset:
    """A classification dataset whose tensors lie on one device.

    ``train_x`` is as stored: ``(N, ...)``, uint8 ``(N, H, W)`` or ``(N, H, W, C)`` for images, float otherwise.
    ``test_x`` is ready to feed: float and normalised, images as ``(M, C, H, W)``. Labels are int64 ``(N,)``, ``(M,)``.
    ``mean`` and ``std`` are those of the training inputs: one number ``()`` for features, ``(C,)`` in units of [0, 1]
    for images.
    """

    name: str
    train_x: torch.Tensor
    train_y: torch.Tensor
    test_x: torch.Tensor
    test_y: torch.Tensor
    num_classes: int
    mean: torch.Tensor
    std: torch.Tensor
    augment: bool = False

    @property
    def device(self):
        """The device that every tensor lies on."""
        return self.train_x.device

    @cached_property
    def digest(self) -> str:
        """Hash that tells datasets apart: exact for labels and images, to three digits for float inputs.

        Generated inputs differ in their last bits between machines, and a record must serve on both.
        """
        described = [self.name, list(self.train_x.shape), list(self.test_x.shape), self.augment]
        exact = {"train_y": self.train_y, "test_y": self.test_y}
        if self.train_x.dtype == torch.uint8:
            exact["train_x"] = self.train_x
        for x in (self.train_x, self.test_x):
            spread = x.flatten(1).float().std(0)
            ramp = torch.linspace(1, 2, len(spread), device=x.device)  # so that the order of features counts
            described += [f"{float(v):.2e}" for v in (spread.mean(), (spread * ramp).mean(), x.float().abs().mean())]
        return store.key([described, store.digest(exact)])

    def batch(self, indices, generator=None):
        """Return training inputs and labels at ``indices``, ready to feed.

        ``indices``: int64 of any shape ``(...)``; the result is ``x`` of shape ``(..., features)`` or
        ``(..., C, H, W)`` and ``y`` of shape ``(...)``. With a ``generator`` of the CPU an augmenting dataset shows
        every example in a view drawn from it; without one nothing is augmented.
        """
        drawn = self.augment and generator is not None
        views = self.draw_views(indices.numel(), generator).view(indices.shape).to(self.device) if drawn else None
        return self.gather(indices, views)

    def draw_views(self, count, generator):
        """Draw views, uint8 ``(count,)``: each codes the offsets of a pad-4 random crop and whether to flip.

        ``generator`` is one of the CPU, and so is the result.
        """
        return torch.randint(_VIEWS, (count,), dtype=torch.uint8, generator=generator)

    def gather(self, indices, views=None):
        """Return training inputs and labels at ``indices``, each seen in its view, shaped as ``batch`` says.

        ``indices`` int64 and ``views`` uint8 (``None``: as stored) have one shape ``(...)`` and lie on the device.
        """
        x, y = self.train_x.index_select(0, indices.flatten()), self.train_y[indices]
        if views is not None:
            x = _crop_and_flip(x, views.flatten())
        return normalise(x.unflatten(0, indices.shape), self.mean, self.std), y

    def training_set(self):
        """Return all training inputs, ready to feed and not augmented, and their labels: ``(N, ...)`` and ``(N,)``."""
        return self.gather(torch.arange(len(self.train_y), device=self.device))


def find_device(name="auto") -> torch.device:
    """Return the torch device called ``name``; ``"auto"`` is CUDA where there is one, else the CPU.

    Raises ``ValueError`` if CUDA is asked for where there is none.
    """
    if name == "auto":
        return torch.device("cuda" if torch.cuda.is_available() else "cpu")
    found = torch.device(name)
    if found.type == "cuda" and not torch.cuda.is_available():
        raise ValueError(f"device is {str(name)!r}, but torch sees no CUDA device; allowed here are 'auto' and 'cpu'")
    return found


def load(name, device="auto", augment=None) -> Dataset:
    """Load a dataset by name (``NAMES``) or from the path of an ``.npz`` file.

    ``mnist1d`` (4,000 + 5,000 examples, 40 features; Greydanus 2020) is generated and ``digits`` comes with
    scikit-learn: neither needs a download. The torchvision sets are looked for in the folder ``LOTTERYLIB_DATA``
    (default ``~/.cache/lotterylib``) and downloaded there. An ``.npz`` holds ``train_x``, ``train_y``, ``test_x``,
    ``test_y`` and optionally a string ``name``; uint8 inputs are taken as images, channels last. ``augment``: whether
    training crops and flips images at random; by default only CIFAR's.

    Raises ``ValueError`` for an unknown name, unusable arrays or a file of CIFAR with a wrong checksum,
    ``FileNotFoundError`` when a set is neither on disk nor downloadable.
    """
    if str(name).endswith(".npz"):
        arrays, label = _npz(Path(name)), Path(name).stem
        label = str(arrays.pop("name", label))
    else:
        label = checks.choice("dataset", name, NAMES)
        augment = label.startswith("cifar") if augment is None else augment
        arrays = {"mnist1d": mnist1d, "digits": _digits}.get(label, lambda: _torchvision(label))()
    return from_arrays(label, **arrays, device=device, augment=bool(augment))


def from_arrays(name, train_x, train_y, test_x, test_y, device="auto", augment=False) -> Dataset:
    """Make a ``Dataset`` of four arrays or tensors, shaped as ``Dataset`` says for ``train_x`` (``test_x`` alike).

    Raises ``ValueError`` for inputs that are not finite numbers or differ in kind between the two sets, for labels that
    are not whole numbers from 0 on, one an input, and for ``augment`` without images.
    """
    arrays = {"train_x": train_x, "train_y": train_y, "test_x": test_x, "test_y": test_y}
    where = find_device(device)
    t = {}
    for key, value in arrays.items():
        value = np.asarray(value)
        if value.dtype.kind not in "biuf":
            raise ValueError(f"{name}: {key} has type {value.dtype}; it must hold numbers")
        t[key] = torch.as_tensor(value).to(where)
    for split in ("train", "test"):
        x, y = t[f"{split}_x"], t[f"{split}_y"]
        if y.is_floating_point() or y.dim() != 1 or len(x) != len(y) or len(y) == 0:
            raise ValueError(
                f"{name}: {split}_y has shape {tuple(y.shape)} and type {y.dtype}; "
                f"it must be {len(x)} whole numbers, one for each entry of {split}_x, and at least one"
            )
        t[f"{split}_y"] = y.long()
        if x.dtype != torch.uint8:
            t[f"{split}_x"] = x.float()
            if not torch.isfinite(t[f"{split}_x"]).all():
                raise ValueError(f"{name}: {split}_x holds NaN or infinite values; all must be finite")
        elif x.dim() not in (3, 4):
            raise ValueError(
                f"{name}: {split}_x entries are uint8 of shape {tuple(x.shape[1:])}; uint8 inputs are images, (H, W) "
                "or (H, W, C): give other inputs as floats"
            )
        elif x.shape[3:] == (1,):
            t[f"{split}_x"] = x.squeeze(3)
    if t["train_x"].shape[1:] != t["test_x"].shape[1:] or t["train_x"].dtype != t["test_x"].dtype:
        raise ValueError(
            f"{name}: test_x entries are {t['test_x'].dtype} {tuple(t['test_x'].shape[1:])}, "
            f"but train_x entries are {t['train_x'].dtype} {tuple(t['train_x'].shape[1:])}; they must be alike"
        )
    if augment and t["train_x"].dtype != torch.uint8:
        raise ValueError(f"{name}: augment is True, but only images (uint8) can be cropped and flipped")
    classes = int(t["train_y"].max()) + 1
    low, high = int(torch.cat([t["train_y"], t["test_y"]]).min()), int(t["test_y"].max())
    if low < 0 or high >= classes:
        raise ValueError(f"{name}: labels run from {low} to {max(high, classes - 1)}; they must be 0 to {classes - 1}")
    mean, std = _moments(t["train_x"])
    t["test_x"] = normalise(t["test_x"], mean, std)
    return Dataset(name=name, **t, num_classes=classes, mean=mean, std=std, augment=augment)


def normalise(x, mean, std):
    """Standardise inputs by ``mean`` and ``std``, shaped as in ``Dataset``: the result is float.

    Features become ``(x - mean) / std``, of the same shape; images, uint8 ``(..., H, W)`` or ``(..., H, W, C)``, become
    ``(x / 255 - mean) / std``, of shape ``(..., C, H, W)``.
    """
    if x.dtype != torch.uint8:
        return (x - mean) / std
    if mean.numel() == 1:
        x = x.unsqueeze(-1)
    return x.to(std.dtype).mul_(1 / (255 * std)).sub_(mean / std).movedim(-1, -3)


def mnist1d(seed=42):
    """Generate MNIST-1D (Greydanus 2020). Another ``seed`` is a fresh draw, which serves as a validation set.

    Returns the arrays that ``from_arrays`` takes, by name: ``train_x`` ``(4000, 40)`` and ``test_x`` ``(5000, 40)``,
    float32, ``train_y`` and ``test_y``, digits 0 to 9. The package's own generator and defaults, with 5,000 test
    examples instead of 1,000, so that a test error of 4 % is known to ±0.3 points.
    """
    from mnist1d.data import get_dataset_args, make_dataset

    arguments = get_dataset_args()
    arguments.num_samples, arguments.train_split, arguments.seed = 9000, 4000 / 9000, seed
    kept = random.getstate(), np.random.get_state()  # make_dataset seeds the global generators
    try:
        made = make_dataset(arguments)
    finally:
        random.setstate(kept[0])
        np.random.set_state(kept[1])
    return {"train_x": made["x"].astype(np.float32), "train_y": made["y"],
            "test_x": made["x_test"].astype(np.float32), "test_y": made["y_test"]}  # fmt: skip


def _digits():
    from sklearn.datasets import load_digits

    x, y = load_digits(return_X_y=True)
    order = np.random.default_rng(0).permutation(len(y))
    x, y = x[order].astype(np.float32), y[order]
    return {"train_x": x[:1347], "train_y": y[:1347], "test_x": x[1347:], "test_y": y[1347:]}


def _torchvision(name):
    datasets = import_torchvision().datasets
    root = Path(os.environ.get("LOTTERYLIB_DATA") or Path.home() / ".cache" / "lotterylib")
    make = getattr(datasets, _TORCHVISION[name])

    def split(train):
        try:
            return make(root, train=train, download=False)
        except RuntimeError:  # torchvision's word for "not there" and for "another checksum"
            _check_sums(make, root)
            return make(root, train=train, download=True)

    try:
        root.mkdir(parents=True, exist_ok=True)
        train, test = split(True), split(False)
    except (OSError, RuntimeError) as error:
        folder = "cifar-10-batches-py" if name == "cifar10" else "cifar-100-python"
        files = f"{folder}/ (unpacked)" if name.startswith("cifar") else f"{_TORCHVISION[name]}/raw/*-ubyte"
        raise FileNotFoundError(
            f"dataset {name!r} is not complete in {root} and could not be downloaded ({error}). Put {root}/{files} "
            "there, or set LOTTERYLIB_DATA to the folder that holds it; 'mnist1d' needs no download at all"
        ) from error
    return {"train_x": np.asarray(train.data), "train_y": np.asarray(train.targets),
            "test_x": np.asarray(test.data), "test_y": np.asarray(test.targets)}  # fmt: skip


def _check_sums(make, root):
    """Refuse files that are there and are not the published ones, before a download would write over them."""
    for name, expected in (*getattr(make, "train_list", ()), *getattr(make, "test_list", ())):
        path = root / make.base_folder / name
        if path.exists() and (found := hashlib.md5(path.read_bytes(), usedforsecurity=False).hexdigest()) != expected:
            raise ValueError(
                f"{path} has the MD5 checksum {found}; that of the published file is {expected}. Move it away, and it "
                "is downloaded again; a changed copy can be loaded from an .npz file"
            )


def import_torchvision():
    """Import torchvision, also where its operators cannot be loaded, which datasets and models do without."""
    try:
        import torchvision
    except RuntimeError:  # its wheel's operators need CUDA libraries
        library = torch.library.Library("torchvision", "DEF")
        for operator in ("nms", "qnms"):
            library.define(f"{operator}(Tensor dets, Tensor scores, float iou_threshold) -> Tensor")
        import torchvision

        torchvision.lotterylib_operators = library  # the declarations live as long as this object
    return torchvision


def _npz(path):
    needed = ("train_x", "train_y", "test_x", "test_y")
    if not path.exists():
        raise FileNotFoundError(f"dataset file {path} does not exist; it must be an .npz holding {', '.join(needed)}")
    if not zipfile.is_zipfile(path):
        raise ValueError(f"{path} is not an .npz file, or it is damaged")
    with np.load(path, allow_pickle=False) as file:
        missing = [name for name in needed if name not in file.files]
        if missing:
            raise ValueError(f"{path} lacks {', '.join(missing)}; it must hold {', '.join(needed)}")
        try:
            return {name: file[name] for name in (*needed, "name") if name in file.files}
        except (ValueError, EOFError, zipfile.BadZipFile, zlib.error) as error:
            raise ValueError(f"{path} holds pickled objects or is damaged ({error}); only arrays are read") from error


def _moments(x):
    if x.dtype != torch.uint8:
        return x.mean(), x.std().clamp_min(1e-8)
    channels = x.reshape(len(x), -1, x.shape[-1] if x.dim() == 4 else 1)
    chunks = [chunk.double().div(255) for chunk in channels.split(4096)]
    count = channels.shape[0] * channels.shape[1]
    mean = sum(chunk.sum((0, 1)) for chunk in chunks) / count
    square = sum(((chunk - mean) ** 2).sum((0, 1)) for chunk in chunks) / count
    return mean.float(), square.sqrt().clamp_min(1e-8).float()


def _crop_and_flip(x, views):
    """Pad-4 crop and horizontal flip of ``(N, H, W[, C])`` images, each as its view says: (row, column, flip)."""
    n, height, width = x.shape[:3]
    padded = torch.nn.functional.pad(x.reshape(n, height, width, -1), (0, 0, _PAD, _PAD, _PAD, _PAD))
    view = views.long()[:, None]
    flip, row, column = view % 2, view // 2 % _OFFSETS, view // 2 // _OFFSETS
    rows = row + torch.arange(height, device=x.device)
    columns = torch.arange(width, device=x.device)
    columns = column + torch.where(flip == 1, width - 1 - columns, columns)
    seen = padded[torch.arange(n, device=x.device)[:, None, None], rows[:, :, None], columns[:, None, :]]
    return seen.reshape(x.shape)
