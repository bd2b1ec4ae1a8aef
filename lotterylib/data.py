"""Datasets as tensors on one device, where training batches are gathered, normalised and augmented."""

import hashlib
import io
import os
import random
import zipfile
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path

import numpy as np
import torch

from . import checks, store

os.environ.setdefault("CUDA_DEVICE_MAX_CONNECTIONS", "32")  # before CUDA starts: else many streams share eight queues
NAMES = ("mnist1d", "mnist", "fashion_mnist", "cifar10", "cifar100", "cifar10_jpeg75")  # ``load`` also takes a path
_ARRAYS = ("train_x", "train_y", "test_x", "test_y")
_MD5 = {  # of the files as torchvision unpacks them; those of CIFAR it knows itself
    "MNIST/raw/train-images-idx3-ubyte": "6bbc9ace898e44ae57da46a324031adb",
    "MNIST/raw/train-labels-idx1-ubyte": "a25bea736e30d166cdddb491f175f624",
    "MNIST/raw/t10k-images-idx3-ubyte": "2646ac647ad5339dbf082846283269ea",
    "MNIST/raw/t10k-labels-idx1-ubyte": "27ae3e4e09519cfbb04c329615203637",
    "FashionMNIST/raw/train-images-idx3-ubyte": "f4a8712d7a061bf5bd6d2ca38dc4d50a",
    "FashionMNIST/raw/train-labels-idx1-ubyte": "9018921c3c673c538a1fc5bad174d6f9",
    "FashionMNIST/raw/t10k-images-idx3-ubyte": "8181f5470baa50b63fa0f6fddb340f0a",
    "FashionMNIST/raw/t10k-labels-idx1-ubyte": "15d484375f8d13e6eb1aabb0c3f46965",
}
_TORCHVISION = {"mnist": "MNIST", "fashion_mnist": "FashionMNIST", "cifar10": "CIFAR10", "cifar100": "CIFAR100"}
_PAD = 4  # pixels of the random crop
_OFFSETS = 2 * _PAD + 1
VIEWS = 2 * _OFFSETS**2  # ways to crop and flip an image
MOST = 2**16  # classes, or as many as examples: networks have an output for each, so a stray label would cost gigabytes


@dataclass(frozen=True, eq=False)
class Dataset:
    """A classification dataset whose tensors lie on one device.

    ``train_x`` ``(N, ...)`` is as stored: images uint8 ``(N, H, W[, C])``, token ids int64 ``(N, L)``, features
    float32. ``test_x`` is ready to feed: images float ``(M, C, H, W)``, standardised as features are; token ids as they
    are. Labels are int64 ``(N,)``, ``(M,)``. ``mean`` and ``std`` of the training inputs, which batches are
    standardised by: ``(C,)`` in units of [0, 1] for images, one number ``()`` otherwise. ``source``: the digest of what
    the tensors were made of, and that of the tensors themselves.
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
    source: tuple[str, str] | None = None

    @property
    def device(self) -> torch.device:
        """The device that every tensor lies on."""
        return self.train_x.device

    @cached_property
    def digest(self) -> str:
        """SHA-256 of all that training and evaluation see: of the arrays as given, or of what generated them.

        For what is computed can differ in its last bits between machines. Changed tensors are hashed themselves.
        """
        tensors = {name: getattr(self, name) for name in (*_ARRAYS, "mean", "std")}
        content = store.digest(tensors, f"{self.num_classes} classes, augment {self.augment}")
        given, made = self.source or (content, content)
        return given if made == content else content

    def gather(self, indices, views: torch.Tensor | None = None) -> tuple[torch.Tensor, torch.Tensor]:
        """Return training inputs and labels at ``indices``, ready to feed.

        ``indices``, int64 ``(...)``, give ``x`` ``(..., features)`` or ``(..., C, H, W)`` and ``y`` ``(...)``.
        ``views``, uint8 ``(...)`` below ``VIEWS``: how each image is padded by 4, cropped and flipped, or ``None``.
        """
        indices = torch.as_tensor(indices, device=self.device)
        x, y = self.train_x.index_select(0, indices.flatten()), self.train_y[indices]
        if views is not None:
            x = _crop_and_flip(x, views.flatten())
        return normalise(x.unflatten(0, indices.shape), self.mean, self.std), y

    def training_set(self) -> tuple[torch.Tensor, torch.Tensor]:
        """Return all training inputs, ready to feed and not augmented, ``(N, ...)``, and their labels ``(N,)``."""
        return self.gather(torch.arange(len(self.train_y), device=self.device))


def find_device(name: str | torch.device = "auto") -> torch.device:
    """The device called ``name``; ``"auto"``: CUDA if there is one, else the CPU. Raises ``ValueError`` for others."""
    name, cuda = str(name), torch.cuda.is_available()
    if name.startswith("cuda") and not cuda:
        found = f"device is {checks.shown(name)}, but torch sees no CUDA device"
        raise ValueError(f"{found}; allowed here are 'auto' and 'cpu'")
    each = ("cuda", *(f"cuda:{i}" for i in range(torch.cuda.device_count()))) if cuda else ()
    checks.choice("device", name, ("auto", "cpu", *each))
    return torch.device(name if name != "auto" else "cuda" if cuda else "cpu")


def load(name: str | Path, device: str | torch.device = "auto", augment: bool | None = None) -> Dataset:
    """Load a dataset by name (``NAMES``) or from the path of an ``.npz`` file.

    ``mnist1d`` is generated. The others lie in the folder ``LOTTERYLIB_DATA`` (default ``~/.cache/lotterylib``);
    torchvision downloads what is not there, except for ``cifar10_jpeg75``, a lossy copy. An ``.npz`` holds the arrays
    ``train_x``, ``train_y``, ``test_x``, ``test_y`` and optionally a string ``name`` and a boolean ``augment``.
    ``augment``: whether training crops and flips images at random; by default what the ``.npz`` says, else only for
    CIFAR by name. Raises ``ValueError`` for an unknown name or device, unusable arrays, damaged files and an ``.npz``
    of more than a tenth of the memory, ``FileNotFoundError`` for a set that is neither on disk nor downloadable.
    """
    device = find_device(device)  # a wrong one is told before a download
    folder = Path(os.path.expanduser(os.environ.get("LOTTERYLIB_DATA") or "~/.cache/lotterylib"))
    if str(name).lower().endswith(".npz"):
        given = {"name": Path(name).stem, "augment": False, **_npz(Path(os.path.expanduser(name)))}
    elif name == "cifar10_jpeg75":
        lossy = "it, a lossy copy of CIFAR-10 (JPEG, quality 75) that is never downloaded,"
        given = {"augment": True, **_npz(folder / f"{name}.npz", lossy), "name": name}
    else:
        checks.choice("dataset", name, (*NAMES, "<path>.npz"))
        arrays = mnist1d() if name == "mnist1d" else _torchvision(name, folder)
        given = {"name": name, "augment": name.startswith("cifar"), **arrays}
    ds = from_arrays(**given | ({} if augment is None else {"augment": augment}), device=device)
    if name == "mnist1d":
        labels = {"train_y": ds.train_y, "test_y": ds.test_y}
        ds = replace(ds, source=(store.digest(labels, f"MNIST-1D {vars(_mnist1d_arguments(42))}"), ds.source[1]))
    return ds


def from_arrays(name: str, train_x, train_y, test_x, test_y, device="auto", augment: bool = False) -> Dataset:
    """Make a ``Dataset`` of copies of four arrays, tensors or lists. The type of the inputs says what they are.

    uint8 are images, ``(N, H, W[, C])``, channels last. Other whole numbers ``(N, L)`` are token ids, which stay as
    they are, for an embedding. Floats ``(N, ...)``, images with channels first among them, become float32 and are
    standardised by one mean and deviation: float64 before that, with ``mean`` 0 and ``std`` 1 left to batches, because
    float32 holds no large offset. Raises ``ValueError`` for inputs that are none of these, not finite or not alike in
    both sets, for labels that are not whole numbers from 0 on, one an input, and for ``augment`` without images.
    """
    if not isinstance(name, str):
        raise ValueError(f"name is {checks.shown(name)}; it must be a string")
    where, augment = find_device(device), bool(checks.choice("augment", augment, (False, True)))
    given = zip(_ARRAYS, (train_x, train_y, test_x, test_y), strict=True)
    t = {key: _tensor(f"{name}: {key}", value, labels=key[-1] == "y") for key, value in given}
    x, test_x = t["train_x"], t["test_x"]
    checks.labels(f"{name}: train_y", t["train_y"], x, max(MOST, len(x)))
    classes = int(t["train_y"].max()) + 1
    checks.labels(f"{name}: test_y", t["test_y"], test_x, classes)
    kinds = [f"{'float' if part.is_floating_point() else part.dtype} {(*part.shape[1:],)}" for part in (test_x, x)]
    if kinds[0] != kinds[1]:
        raise ValueError(f"{name}: test_x entries are {kinds[0]}, but train_x entries {kinds[1]}; they must be alike")
    if augment and x.dtype != torch.uint8:
        raise ValueError(f"{name}: augment is True, but only images (uint8) can be cropped and flipped")
    source, (mean, std) = store.digest(t, f"augment {augment}"), _moments(x)
    if torch.float64 in (x.dtype, test_x.dtype):
        t |= {"train_x": normalise(x, mean, std).float(), "test_x": normalise(test_x, mean, std).float()}
        mean, std = torch.zeros(()), torch.ones(())
    else:
        mean, std = mean.float(), std.float()
        t["test_x"] = normalise(test_x, mean, std)
    ds = Dataset(name, **t, num_classes=classes, mean=mean, std=std, augment=augment)
    moved = {key: getattr(ds, key).to(where) for key in (*_ARRAYS, "mean", "std")}
    return replace(ds, source=(source, ds.digest), **moved)


def _tensor(label, value, labels):
    """Copy an array, tensor or list to the CPU as uint8, int64, float32 or float64, whichever holds it."""
    if torch.is_tensor(value):
        value = (value.float() if value.dtype == torch.bfloat16 else value).detach().cpu()  # numpy has no bfloat16
    try:
        value = np.asarray(value)
    except (ValueError, TypeError, RuntimeError) as error:  # of unequal rows, sparse
        raise ValueError(f"{label} is no array ({error})") from error
    kind = value.dtype.kind
    if kind not in "biuf":
        raise ValueError(f"{label} has type {value.dtype}; it must hold numbers, not complex ones")
    if kind == "u" and value.size and value.max() > np.iinfo(np.int64).max:
        raise ValueError(f"{label} runs up to {value.max()}; whole numbers must be below 2**63")
    dtype = np.float64 if value.dtype.itemsize > 4 else np.float32
    if kind in "iu" or (kind == "b" and labels):
        dtype = np.uint8 if value.dtype == np.uint8 and not labels else np.int64
    copy = torch.from_numpy(np.array(value, dtype, order="C"))
    return copy if labels else _checked(label, copy)


def _checked(label, x):
    """Return images, token ids or features, grey images without channels. Raises ``ValueError`` for anything else."""
    shape, what = tuple(x.shape), None
    if len(shape) < 2 or 0 in shape[1:]:
        what = "it must be (N, ...), with at least one number an entry"
    elif x.dtype == torch.uint8 and (len(shape) not in (3, 4) or (len(shape) == 4 and shape[3] > 4 >= shape[1])):
        what = "uint8 inputs are images, (N, H, W[, C]), channels last (np.moveaxis(x, 1, 3)): give others as floats"
    elif x.dtype == torch.int64 and len(shape) != 2:
        what = "whole numbers are token ids, (N, L): give images as uint8, features as floats"
    elif x.is_floating_point() and len(shape) == 4 and shape[3] in (1, 3, 4) and min(shape[1:3]) > shape[3]:
        what = "float images are (N, C, H, W): give channels first (np.moveaxis(x, 3, 1))"
    elif x.is_floating_point() and not (x.abs() <= 1e18).all():
        what = "it holds NaN or infinite values, or some beyond 1e18; all must be finite"
    if what:
        raise ValueError(f"{label} has shape {shape} and type {x.dtype}; {what}")
    return x.squeeze(3) if x.dtype == torch.uint8 and shape[3:] == (1,) else x


def normalise(x, mean: torch.Tensor, std: torch.Tensor) -> torch.Tensor:
    """Standardise features, and images, uint8 ``(..., H, W[, C])`` to float ``(..., C, H, W)``; token ids stay."""
    if x.dtype == torch.int64:
        return x
    if x.dtype != torch.uint8:
        return (x - mean) / std
    if mean.numel() == 1:
        x = x.unsqueeze(-1)
    return x.to(std.dtype).mul_(1 / (255 * std)).sub_(mean / std).movedim(-1, -3)


def mnist1d(seed: int = 42) -> dict:
    """Generate MNIST-1D (Greydanus 2020). Another ``seed`` is a fresh draw, which serves as a validation set.

    Returns what ``from_arrays`` takes, by name: ``train_x`` ``(4000, 40)`` and ``test_x`` ``(5000, 40)``, float32, and
    digits, by the package's own generator and defaults, but with 5,000 test examples, so that a test error of 4 % is
    known to ±0.3 points. Raises ``ValueError`` for a seed that numpy refuses.
    """
    from mnist1d.data import make_dataset

    arguments = _mnist1d_arguments(checks.whole("seed", seed, 0, 2**32 - 1))
    kept = random.getstate(), np.random.get_state()  # make_dataset seeds the global generators
    try:
        made = make_dataset(arguments)
    finally:
        random.setstate(kept[0])
        np.random.set_state(kept[1])
    arrays = made["x"].astype(np.float32), made["y"], made["x_test"].astype(np.float32), made["y_test"]
    return dict(zip(_ARRAYS, arrays, strict=True))


def _mnist1d_arguments(seed):
    from mnist1d.data import get_dataset_args

    arguments = get_dataset_args()
    vars(arguments).update(num_samples=9000, train_split=4000 / 9000, seed=seed)
    return arguments


def _torchvision(name, root):
    make = getattr(import_torchvision().datasets, _TORCHVISION[name])
    try:
        root.mkdir(parents=True, exist_ok=True)
        _check_files(make, root)
        train, test = (make(root, train=train, download=True) for train in (True, False))  # only what is not there
    except (OSError, RuntimeError) as error:
        files = f"{make.base_folder}/ (unpacked)" if name.startswith("cifar") else f"{make.__name__}/raw/*-ubyte"
        found = f"dataset {name!r} is not complete in {root} and could not be downloaded ({error})"
        remedy = f"Put {root}/{files} there, or set LOTTERYLIB_DATA to the folder that holds it"
        raise FileNotFoundError(f"{found}. {remedy}; 'mnist1d' needs no download at all") from error
    return dict(zip(_ARRAYS, map(np.asarray, (train.data, train.targets, test.data, test.targets)), strict=True))


def _check_files(make, root):
    """Raise ``ValueError`` for damaged files, before torchvision stumbles over them or a download writes over them."""
    known = {name: md5 for name, md5 in _MD5.items() if name.startswith(f"{make.__name__}/")}
    lists = (*getattr(make, "train_list", ()), *getattr(make, "test_list", ()))
    known |= {f"{make.base_folder}/{name}": md5 for name, md5 in lists}
    for name, expected in known.items():
        path = root / name
        if path.exists() and (found := hashlib.md5(path.read_bytes(), usedforsecurity=False).hexdigest()) != expected:
            differs = f"{path} has the MD5 checksum {found}; that of the published file is {expected}"
            raise ValueError(f"{differs}. Move it away, and it is downloaded again; an .npz may hold a changed copy")


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


def host_memory() -> int:
    """Bytes of this machine's memory."""
    return os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")


def _npz(path, what="it"):
    if not os.path.exists(path):
        raise FileNotFoundError(f"{path} does not exist; {what} must be an .npz holding {', '.join(_ARRAYS)}")
    try:
        with path.open("rb") as opened, zipfile.ZipFile(opened) as file:
            held = {member.filename.removesuffix(".npy"): member for member in file.infolist()}
            held = {name: held[name] for name in (*_ARRAYS, "name", "augment") if name in held}
            size, most = sum(member.file_size for member in held.values()), host_memory() // 10
            if size > most:  # eight bytes are made of one, at worst
                raise ValueError(f"unpacked it has {size} bytes; {most} are allowed, a tenth of this machine's memory")
            if any(member.compress_type not in (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED) for member in held.values()):
                raise ValueError("numpy does not pack like this")  # what does may unpack to more than it says
            contents = {name: io.BytesIO(file.open(member).read(member.file_size)) for name, member in held.items()}
        arrays = {name: np.lib.format.read_array(content, allow_pickle=False) for name, content in contents.items()}
        for name in {"name", "augment"} & {*arrays}:  # of several two are told: a billion may be empty
            arrays[name] = arrays[name].ravel()[:2].tolist() if arrays[name].ndim else arrays[name].item()
    except Exception as error:  # numpy, zipfile and zlib have a dozen for damaged files; MemoryError: a false size
        found = f"{path} is no .npz of arrays, holds pickled objects, is too large or is damaged"
        raise ValueError(f"{found} ({error})") from error
    if missing := [name for name in _ARRAYS if name not in arrays]:
        raise ValueError(f"{path} lacks {', '.join(missing)}; it must hold {', '.join(_ARRAYS)}")
    return arrays


def _moments(x):
    """Mean and standard deviation, as ``Dataset`` says, in float64, so that the number of threads does not show."""
    if x.dtype == torch.int64:
        return torch.tensor(0.0), torch.tensor(1.0)
    if x.dtype == torch.uint8:
        grey, found = torch.arange(256).double() / 255, []
        for some in x.reshape(-1, x.shape[3] if x.dim() == 4 else 1).split(64, 1):  # a channel's counts take kilobytes
            counts = torch.stack([channel.bincount(minlength=256) for channel in some.unbind(1)]).double()
            share = counts / counts.sum(1, keepdim=True)
            mean = share @ grey
            found.append(torch.stack([mean, (share * (grey - mean[:, None]) ** 2).sum(1)]))
        mean, variance = torch.cat(found, 1)
    else:
        variance, mean = torch.var_mean(x.double(), correction=min(1, x.numel() - 1))
    std = variance.sqrt()
    return mean, torch.where(std > (1e-12 * mean.abs()).clamp_min(1e-20), std, 1.0)  # constant inputs become 0


def _crop_and_flip(x, views):
    """Pad-4 crop and horizontal flip of ``(N, H, W[, C])`` images, each as its view says: (row, column, flip)."""
    n, height, width = x.shape[:3]
    padded = torch.nn.functional.pad(x.reshape(n, height, width, -1), (0, 0, _PAD, _PAD, _PAD, _PAD))
    view = views.long()[:, None]
    flip, row, column = view % 2, view // 2 % _OFFSETS, view // 2 // _OFFSETS
    rows, columns = (torch.arange(size, device=x.device) for size in (height, width))
    rows, columns = row + rows, column + torch.where(flip == 1, width - 1 - columns, columns)
    seen = padded[torch.arange(n, device=x.device)[:, None, None], rows[:, :, None], columns[:, None, :]]
    return seen.reshape(x.shape)
