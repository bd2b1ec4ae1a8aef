"""Datasets: shapes, normalisation, augmentation, identity, and what is said about unusable ones."""

import argparse
import dataclasses
import hashlib
import io
import pickle
import random
import struct
import urllib.error
import zipfile
from pathlib import Path

import numpy as np
import pytest
import torch
import twins
from torch import nn
from torch.testing import assert_close

from lotterylib import data, networks, training


def drawn_views(shape, seed):
    return torch.randint(data.VIEWS, shape, dtype=torch.uint8, generator=torch.Generator().manual_seed(seed))


def arrays(train=20, test=10, features=(4,), classes=3, seed=0, dtype=np.float64):
    """The four arrays of an .npz, every class in both parts."""
    rng = np.random.default_rng(seed)
    x = rng.integers(0, 256, (train + test, *features)).astype(dtype)
    y = np.arange(train + test) % classes
    return {"train_x": x[:train], "train_y": y[:train], "test_x": x[train:], "test_y": y[train:]}


# Names


@pytest.mark.parametrize(("name", "near"), [("mnist_1d", "mnist1d"), ("fashion-mnist", "fashion_mnist")])
def test_an_unknown_dataset_is_named_with_the_closest(name, near):
    with pytest.raises(
        ValueError, match=f"dataset is '{name}'.*'mnist1d'.*'cifar10_jpeg75', '<path>.npz'; did you mean '{near}'"
    ):
        data.load(name)


def test_cuda_asked_for_and_absent(monkeypatch):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    for device in ("cuda", "cuda:1", torch.device("cuda")):
        with pytest.raises(ValueError, match="device is 'cuda.*no CUDA device; allowed here are 'auto' and 'cpu'"):
            data.from_arrays("x", **arrays(), device=device)
    assert data.find_device("auto") == data.find_device("cpu") == torch.device("cpu")
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 2)
    assert data.find_device("auto") == data.find_device("cuda") == torch.device("cuda")
    assert data.find_device(torch.device("cuda", 1)) == torch.device("cuda", 1)
    with pytest.raises(ValueError, match="device is 'cuda:2'.*allowed are 'auto', 'cpu', 'cuda', 'cuda:0', 'cuda:1'"):
        data.find_device("cuda:2")


@pytest.mark.parametrize("device", ["gpu", "", "mps", "meta", "cpu:x", None, 0, 1.5])
def test_an_unknown_device_is_refused_before_any_data_is_looked_for(device):
    for call in (data.find_device, lambda device: data.load("nowhere.npz", device=device)):
        with pytest.raises(ValueError, match=f"device is '{device}', which is unknown; allowed are 'auto', 'cpu'"):
            call(device)


@pytest.mark.parametrize("name", [3, None, b"mnist1d", ["mnist1d"]])
def test_a_name_of_another_type(name):
    with pytest.raises(ValueError, match="dataset is .*allowed are 'mnist1d'"):
        data.load(name)
    with pytest.raises(ValueError, match="name is .*; it must be a string"):
        data.from_arrays(name, **arrays(), device="cpu")


# Embedded datasets


def test_mnist1d_is_as_described_and_the_same_every_time(mnist1d):
    random.seed(7), np.random.seed(8), torch.manual_seed(9)
    before = random.getstate(), np.random.get_state(), torch.get_rng_state()
    raw = data.mnist1d(seed=42)
    assert random.getstate() == before[0], "the global generators are left alone"
    assert all(np.array_equal(a, b) for a, b in zip(np.random.get_state(), before[1], strict=True))
    assert torch.equal(torch.get_rng_state(), before[2])
    assert torch.equal(mnist1d.train_x, torch.from_numpy(raw["train_x"]))
    assert torch.equal(mnist1d.test_y, torch.from_numpy(raw["test_y"]).long())
    assert mnist1d.name == "mnist1d" and mnist1d.num_classes == 10 and not mnist1d.augment
    assert mnist1d.train_x.shape == (4000, 40) and mnist1d.test_x.shape == (5000, 40)
    for y, count in ((mnist1d.train_y, 4000), (mnist1d.test_y, 5000)):
        assert y.dtype == torch.int64 and y.shape == (count,)
        assert torch.bincount(y, minlength=10).min() > 0.08 * count and y.max() == 9
    mean, std = raw["train_x"].astype(np.float64).mean(), raw["train_x"].astype(np.float64).std()
    assert_close(mnist1d.test_x, torch.from_numpy((raw["test_x"] - mean) / std).float(), rtol=1e-3, atol=1e-3)
    assert mnist1d.gather(torch.arange(4000))[0].std().item() == pytest.approx(1, abs=1e-3)


def test_another_seed_of_mnist1d_is_a_fresh_draw(mnist1d):
    fresh = data.from_arrays("mnist1d", **data.mnist1d(seed=7), device="cpu")
    assert fresh.train_x.shape == (4000, 40) and fresh.test_x.shape == (5000, 40)
    seen = {row.tobytes() for row in mnist1d.train_x.numpy()}
    assert not any(row.tobytes() in seen for row in fresh.train_x.numpy())
    assert fresh.digest != mnist1d.digest
    assert fresh.train_x.std().item() == pytest.approx(mnist1d.train_x.std().item(), rel=0.05)


@pytest.mark.parametrize("seed", [-1, 0.5, "a"])
def test_a_bad_seed_of_mnist1d(seed):
    with pytest.raises(ValueError, match=f"seed is {seed!r}"):
        data.mnist1d(seed)


# .npz files


def test_npz_of_features(tmp_path):
    given = arrays()
    np.savez(tmp_path / "mine.npz", **given, ignored=np.arange(3))
    ds = data.load(tmp_path / "mine.npz", device="cpu")
    assert ds.name == "mine" and ds.num_classes == 3 and not ds.augment
    assert ds.train_x.dtype == ds.test_x.dtype == torch.float32 and ds.train_y.dtype == torch.int64
    expected = (given["test_x"] - given["train_x"].mean()) / given["train_x"].std(ddof=1)
    assert np.allclose(ds.test_x, expected, atol=1e-5)
    x, y = ds.gather(torch.tensor([[3, 0], [3, 19]]))
    assert np.allclose(x[0, 0], (given["train_x"][3] - given["train_x"].mean()) / given["train_x"].std(), rtol=0.05)
    assert x.shape == (2, 2, 4) and torch.equal(x[0, 0], x[1, 0]) and y.tolist() == [[0, 0], [0, 1]]
    np.savez(tmp_path / "mine.npz", **given, name="better")
    assert data.load(str(tmp_path / "mine.npz"), device="cpu").name == "better"


def test_the_suffix_in_capitals_and_the_home_folder(tmp_path, monkeypatch):
    monkeypatch.setenv("HOME", str(tmp_path))
    with open(tmp_path / "Mine.NPZ", "wb") as file:
        np.savez(file, **arrays())
    for path in ("~/Mine.NPZ", Path("~/Mine.NPZ"), tmp_path / "Mine.NPZ", str(tmp_path / "Mine.NPZ")):
        assert data.load(path, device="cpu").name == "Mine"


@pytest.mark.parametrize("features", [(6, 5, 3), (6, 5), (6, 5, 1)])
def test_npz_of_images(tmp_path, features):
    """uint8 is an image, channels last as stored, channels first and standardised per channel when fed."""
    given = arrays(features=features, dtype=np.uint8)
    if features[-1] == 3:
        for part in ("train_x", "test_x"):
            given[part][..., 1] //= 4  # channels of different spread
    np.savez_compressed(tmp_path / "images.npz", **given)
    ds = data.load(tmp_path / "images.npz", device="cpu")
    assert ds.train_x.dtype == torch.uint8 and ds.train_x.numel() == given["train_x"].size
    channels = 3 if features[-1] == 3 else 1
    train, test = (given[part].reshape(-1, 6, 5, channels).astype(np.float64) / 255 for part in ("train_x", "test_x"))
    mean, std = train.mean((0, 1, 2)), train.std((0, 1, 2))
    assert np.allclose(ds.test_x, ((test - mean) / std).transpose(0, 3, 1, 2), atol=1e-5)
    for indices in (torch.arange(20), torch.arange(20).view(4, 5), torch.tensor([7])):
        x, y = ds.gather(indices)
        assert x.shape == (*indices.shape, channels, 6, 5) and x.dtype == torch.float32
        expected = ((train - mean) / std).transpose(0, 3, 1, 2)[indices.numpy()]
        assert np.allclose(x, expected, atol=1e-5)
        assert y.tolist() == given["train_y"][indices.numpy()].tolist()


def bad(**changes):
    return {**arrays(), **changes}


@pytest.mark.parametrize(
    ("given", "match"),
    [
        ({k: v for k, v in arrays().items() if k not in ("train_y", "test_x")}, r"bad.npz lacks train_y, test_x; it"),
        (bad(test_y=np.full(10, 3)), "test_y runs from 3 to 3; labels must lie between 0 and 2"),
        (bad(train_y=arrays()["train_y"] - 1), "train_y runs from -1 to 1; labels must lie between 0 and"),
        (bad(test_y=arrays()["test_y"] - 1), "test_y runs from -1 to 1; labels must lie between 0 and 2"),
        (bad(train_y=np.full(20, -1), test_y=np.full(10, -1)), "train_y runs from -1 to -1; labels must lie"),
        (bad(train_y=np.full(20, -100)), "train_y runs from -100 to -100; labels must lie between 0 and"),
        (bad(train_y=np.zeros((20, 1), int)), r"train_y has shape \(20, 1\).*must be \(20,\) whole numbers, one"),
        (bad(train_y=np.zeros(1, int)), r"train_y has shape \(1,\).*must be \(20,\) whole"),
        (bad(train_y=np.array(2)), r"train_y has shape \(\).*must be \(20,\) whole"),
        (bad(train_y=np.full(20, 0.5)), r"train_y has shape \(20,\) and type torch.float64; it must be \(20,\) whole"),
        (bad(test_y=np.zeros((10, 3), int)), r"test_y has shape \(10, 3\)"),
        (bad(train_y=np.zeros(19, int)), r"train_y has shape \(19,\).*must be \(20,\) whole numbers"),
        (bad(test_x=np.zeros((0, 4)), test_y=np.zeros(0, int)), "test_y has shape.*one or more"),
        (bad(train_x=np.zeros((0, 4)), train_y=np.zeros(0, int)), "train_y has shape.*one or more"),
        (bad(test_x=np.zeros((10, 5))), r"test_x entries are float \(5,\), but train_x entries float \(4,\)"),
        ({**arrays(features=(4, 3)), "test_x": np.zeros((10, 4, 3), np.uint8)}, r"test_x entries are torch.uint8"),
        (bad(train_x=np.full((20, 4), np.nan)), "train_x has shape.*NaN or infinite"),
        (bad(test_x=np.full((10, 4), np.inf)), "test_x has shape.*NaN or infinite"),
        (bad(train_y=np.array(["cat"] * 20)), "train_y has type <U3; it must hold numbers"),
        (arrays(dtype=np.uint8), r"shape \(20, 4\) and type torch.uint8; uint8 inputs are images.*others as floats"),
        (arrays(features=(2, 3, 4, 3), dtype=np.uint8), "uint8 inputs are images"),
        (arrays(features=(3, 8, 8), dtype=np.uint8), r"train_x has shape \(20, 3, 8, 8\).*np.moveaxis\(x, 1, 3\)"),
        (arrays(features=(1, 8, 8), dtype=np.uint8), r"np.moveaxis\(x, 1, 3\)"),
        (arrays(features=(8, 8, 3)), r"train_x has shape \(20, 8, 8, 3\).*np.moveaxis\(x, 3, 1\)"),
        (arrays(features=(8, 6, 1), dtype=np.float32), r"np.moveaxis\(x, 3, 1\)"),
        (arrays(features=(8, 8, 3), dtype=np.int64), r"token ids, \(N, L\): give images as uint8"),
        (arrays(features=()), r"train_x has shape \(20,\).*must be \(N, ...\)"),
        (arrays(features=(0,)), r"train_x has shape \(20, 0\).*at least one number"),
        (bad(train_x=np.array(3.0)), r"train_x has shape \(\)"),
        (bad(train_x=np.full((20, 4), 1e200)), "some beyond 1e18"),
        (bad(train_x=np.full((20, 4), 1j)), "train_x has type complex128; it must hold numbers, not complex"),
        (bad(name=np.arange(2)), r"name is \[0, 1\]; it must be a string"),
        (bad(augment=np.arange(2)), r"augment is \[0, 1\].*allowed are False, True"),
        (bad(augment=True), "augment is True, but only images"),
    ],
    ids=[
        "missing", "new-class", "negative", "negative-test", "all-negative", "negative-100", "column-labels",
        "one-label", "scalar-label", "float-labels", "one-hot", "too-few-labels", "empty-test", "empty-train",
        "other-features", "other-type", "nan", "infinite", "text-labels", "flat-images", "uint8-videos",
        "channels-first", "grey-channels-first", "channels-last", "grey-channels-last", "int-images", "no-axis",
        "no-feature", "one-number", "too-large", "complex", "name", "augment", "augmented-features",
    ],
)  # fmt: skip
def test_unusable_arrays(tmp_path, given, match):
    np.savez(tmp_path / "bad.npz", **given)
    with pytest.raises(ValueError, match=match):
        data.load(tmp_path / "bad.npz", device="cpu")


class Trap:
    """Whoever unpickles it leaves a mark."""

    def __init__(self, path):
        self.path = path

    def __reduce__(self):
        return Path.touch, (self.path,)


@pytest.mark.parametrize("entry", ["train_x", "test_y", "name"])
def test_pickled_objects_are_refused_and_never_opened(tmp_path, entry):
    mark = tmp_path / "mark"
    np.savez(tmp_path / "bad.npz", **{**arrays(), entry: np.array([Trap(mark)], dtype=object)})
    with pytest.raises(ValueError, match=r"bad\.npz .*holds pickled objects"):
        data.load(tmp_path / "bad.npz", device="cpu")
    assert not mark.exists()
    pickle.loads(pickle.dumps(Trap(mark)))
    assert mark.exists(), "the test's own premise: the trap works"


def renamed(archive, old="", new="", cut=None):
    """The archive with another header (of the same length) in ``train_x``, or with that entry cut off; sums right."""
    out = io.BytesIO()
    with zipfile.ZipFile(io.BytesIO(archive)) as read, zipfile.ZipFile(out, "w") as write:
        for name in read.namelist():
            content = read.read(name)
            if name == "train_x.npy":
                header = content[:128].decode("latin1")
                assert old in header
                content = (header.replace(old, new).rstrip()[:127].ljust(127) + "\n").encode("latin1") + content[128:]
            write.writestr(name, content[:cut] if name == "train_x.npy" else content)
    return out.getvalue()


@pytest.mark.parametrize(
    "damage", ["pickle", "truncated", "corrupted", "empty", "text", "npy", "huge", "negative", "member", "garbage"]
)
def test_what_is_no_npz_is_a_value_error_that_names_it(tmp_path, damage):
    path, mark = tmp_path / "bad.npz", tmp_path / "mark"
    np.savez(path, **arrays(train=400))
    whole = path.read_bytes()
    np.save(tmp_path / "one.npy", np.arange(3))
    corrupted = bytearray(whole)
    corrupted[len(whole) // 4] ^= 255
    path.write_bytes({
        "pickle": pickle.dumps(Trap(mark)), "truncated": whole[: len(whole) // 2], "corrupted": bytes(corrupted),
        "empty": b"", "text": b"no archive", "npy": (tmp_path / "one.npy").read_bytes(),
        "huge": renamed(whole, "(400, 4)", "(9000000000000, 400000)"),
        "negative": renamed(whole, "(400, 4)", "(-1, 4)"),
        "member": renamed(whole, cut=200), "garbage": renamed(whole, "{'descr'", "{((((("),
    }[damage])  # fmt: skip
    with pytest.raises(ValueError, match=r"bad\.npz is no .npz of arrays, holds .* or is damaged"):
        data.load(path, device="cpu")
    assert not mark.exists()


@pytest.mark.parametrize("shape", [(), (3,)])
def test_a_name_of_no_characters_is_a_value_error(tmp_path, shape):
    """Numbers beyond Unicode, of which numpy makes text only when it is asked for: found by the fuzzer."""
    np.savez(tmp_path / "bad.npz", **arrays(), name=np.full(shape, 0x7FFFFFFF, np.uint32).view("<U1"))
    with pytest.raises(ValueError, match=r"bad\.npz is no .npz of arrays, holds .* or is damaged"):
        data.load(tmp_path / "bad.npz", device="cpu")


def test_a_missing_npz_says_what_it_must_hold(tmp_path):
    with pytest.raises(FileNotFoundError, match=r"nowhere\.npz does not exist.*train_x, train_y, test_x, test_y"):
        data.load(tmp_path / "nowhere.npz")


# Identity


KINDS = {"features": ((12,), np.float32), "images": ((6, 5, 3), np.uint8), "float64": ((12,), np.float64)}


def one_more(x, *place):
    """A copy with one changed entry."""
    x = x.copy()
    x[place] = (x[place] + 1) % 3 if x.ndim == 1 else x[place] // 2 + 1
    return x


@pytest.mark.parametrize("kind", KINDS)
def test_the_digest_changes_with_all_that_training_or_evaluation_sees(kind):
    """Changes that leave every statistic of the whole alone are changes too: other orders, negated inputs."""
    given = arrays(features=KINDS[kind][0], dtype=KINDS[kind][1], test=20)
    x, test = given["train_x"], given["test_x"]
    shuffle = np.random.default_rng(0).permutation(20)
    features = np.random.default_rng(0).permutation(x.shape[1])
    changes = [
        {}, {"train_x": x[shuffle]}, {"test_x": test[shuffle]}, {"train_y": given["train_y"][shuffle]},
        {"train_x": x[shuffle], "train_y": given["train_y"][shuffle]}, {"train_x": test, "test_x": x},
        {"train_x": x[:, features], "test_x": test[:, features]}, {"train_x": x.max() - x, "test_x": x.max() - test},
        {"train_x": -x, "test_x": -test}, {"train_x": one_more(x, 7)}, {"test_x": one_more(test, 19)},
        {"train_y": one_more(given["train_y"], 3)}, {"test_y": one_more(given["test_y"], 19)},
        {"test_x": test[:-1], "test_y": given["test_y"][:-1]}, {"train_y": np.where(shuffle == 1, 3, given["train_y"])},
    ]  # fmt: skip
    sets = [data.from_arrays("x", **{**given, **change}, device="cpu") for change in changes]
    sets += [data.from_arrays("x", **given, device="cpu", augment=True)] if kind == "images" else []
    assert len({ds.digest for ds in sets}) == len(sets)
    again = data.from_arrays(
        "y", **{k: v.tolist() if k[-1] == "y" else v.copy() for k, v in given.items()}, device="cpu"
    )
    assert again.digest == sets[0].digest and len(again.digest) == 64


def test_the_digest_of_a_changed_dataset_is_of_what_it_holds(mnist1d, pictures):
    """A copy keeps the digest only while its tensors are those that it stands for."""
    for ds in (mnist1d, pictures):
        changes = [
            {"train_x": ds.train_x.flip(0)}, {"train_y": ds.train_y.flip(0)}, {"test_x": -ds.test_x},
            {"test_y": ds.test_y.flip(0)}, {"num_classes": 11}, {"mean": ds.mean + 1}, {"std": ds.std * 2},
            {"augment": not ds.augment}, {"train_x": ds.train_x.double()},
        ]  # fmt: skip
        changed = [dataclasses.replace(ds, **change) for change in changes]
        assert len({ds.digest, *(one.digest for one in changed)}) == 1 + len(changed)
        assert dataclasses.replace(changed[0], train_x=ds.train_x.clone()).digest == ds.digest
        assert dataclasses.replace(ds, name="other").digest == ds.digest


def test_generated_data_is_known_by_its_generator(mnist1d, monkeypatch):
    """On another machine the last bits of the inputs differ; another release of the generator is another dataset."""
    raw = data.mnist1d()
    inputs = {key: np.nextafter(raw[key], np.float32(9)) for key in ("train_x", "test_x")}
    monkeypatch.setattr(data, "mnist1d", lambda: {**raw, **inputs})
    elsewhere = data.load("mnist1d", device="cpu")
    assert not torch.equal(elsewhere.train_x, mnist1d.train_x) and elsewhere.digest == mnist1d.digest
    assert data.from_arrays("mnist1d", **raw, device="cpu").digest != mnist1d.digest
    monkeypatch.setattr(data, "_mnist1d_arguments", lambda seed: argparse.Namespace(seed=seed, num_samples=8999))
    monkeypatch.setattr(data, "mnist1d", lambda: raw)
    assert data.load("mnist1d", device="cpu").digest != mnist1d.digest


def test_neither_digest_nor_moments_depend_on_the_number_of_threads():
    given = arrays(train=3000, features=(60,), dtype=np.float32)
    given["train_x"] += np.random.default_rng(0).normal(size=(3000, 60)).astype(np.float32)
    sets = []
    try:
        for threads in (1, 2, 3):
            torch.set_num_threads(threads)
            sets.append(data.from_arrays("x", **given, device="cpu"))
    finally:
        torch.set_num_threads(1)
    for ds in sets:
        assert ds.digest == sets[0].digest and torch.equal(ds.test_x, sets[0].test_x)
        assert ds.mean.item() == np.float32(given["train_x"].astype(np.float64).mean())
        assert ds.std.item() == np.float32(given["train_x"].astype(np.float64).std(ddof=1))


# What arrays may look like


def test_every_form_of_an_array_gives_the_same_dataset():
    given = arrays(dtype=np.float32)  # whole numbers below 256, which every type below holds
    forms = {
        "flipped": lambda a: a[::-1].copy()[::-1], "columns first": np.asfortranarray, "read-only": np.copy,
        "big-endian": lambda a: a.astype(a.dtype.newbyteorder(">")), "lists": lambda a: a.tolist(),
        "float16": lambda a: a.astype(np.float16) if a.dtype.kind == "f" else a.astype(np.int8),
        "long double": lambda a: a.astype(np.longdouble) if a.dtype.kind == "f" else a.astype(np.uint64),
        "bfloat16": lambda a: torch.tensor(a).bfloat16() if a.dtype.kind == "f" else torch.tensor(a).short(),
        "requires grad": lambda a: torch.tensor(a).requires_grad_() if a.dtype.kind == "f" else torch.tensor(a),
        "tensor view": lambda a: torch.tensor(a).repeat_interleave(2, 0)[::2],
    }  # fmt: skip
    expected = data.from_arrays("x", **given, device="cpu")
    for form, change in forms.items():
        changed = {key: change(value) for key, value in given.items()}
        if form == "read-only":
            [value.setflags(write=False) for value in changed.values()]
        ds = data.from_arrays("x", **changed, device="cpu")
        assert_close(ds.test_x, expected.test_x, msg=form)
        assert_close(ds.training_set()[0], expected.training_set()[0], msg=form)
        assert torch.equal(ds.train_y, expected.train_y) and not ds.train_x.requires_grad
        assert ds.train_x.dtype == ds.test_x.dtype == torch.float32


def test_images_as_tensors_and_mixed_widths():
    given = arrays(features=(6, 5, 3), dtype=np.uint8)
    tensors = {key: torch.as_tensor(value) for key, value in given.items()}
    assert data.from_arrays("x", **tensors, device="cpu").digest == data.from_arrays("x", **given, device="cpu").digest
    given = arrays()
    mixed = data.from_arrays("x", **{**given, "test_x": given["test_x"].astype(np.float32)}, device="cpu")
    assert_close(mixed.test_x, data.from_arrays("x", **given, device="cpu").test_x)


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("form", [np.asarray, torch.as_tensor])
def test_the_callers_arrays_are_copied(kind, form):
    given = {k: form(v) for k, v in arrays(features=KINDS[kind][0], dtype=KINDS[kind][1]).items()}
    before = {key: np.asarray(value).copy() for key, value in given.items()}
    ds = data.from_arrays("x", **given, device="cpu")
    ds.gather([0, 1])
    assert all(np.array_equal(given[key], before[key]) for key in given)
    digest = dataclasses.replace(ds).digest
    for value in given.values():
        value[:] = 1
    assert dataclasses.replace(ds).digest == digest
    ds.train_x.zero_(), ds.train_y.zero_(), ds.test_x.zero_(), ds.test_y.zero_()
    assert all((np.asarray(value) == 1).all() for value in given.values())


@pytest.mark.parametrize("offset", [1e3, 1e9])
def test_a_large_offset_leaves_the_spread(offset):
    given = arrays(train=500)
    moved = {key: value + offset if key[-1] == "x" else value for key, value in given.items()}
    plain, ds = (data.from_arrays("x", **one, device="cpu") for one in (given, moved))
    for a, b in ((plain.test_x, ds.test_x), (plain.training_set()[0], ds.training_set()[0])):
        assert_close(a, b, atol=1e-5, rtol=1e-5)
    assert ds.training_set()[0].std().item() == pytest.approx(1, abs=1e-4)


@pytest.mark.parametrize("features", [(1,), (4,), (3, 8, 8)])
def test_one_example_is_finite(features):
    ds = data.from_arrays("one", **arrays(1, 2, features, classes=1, dtype=np.float32), device="cpu")
    assert torch.isfinite(ds.test_x).all() and torch.isfinite(ds.training_set()[0]).all()


@pytest.mark.parametrize("value", [0.1, -1e6, 1e-15])
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_constant_features_become_zero(value, dtype):
    given = {**arrays(), "train_x": np.full((20, 4), value, dtype), "test_x": np.full((10, 4), value, dtype)}
    ds = data.from_arrays("flat", **given, device="cpu")
    assert ds.test_x.abs().max() < 1e-9 and ds.training_set()[0].abs().max() < 1e-9


def test_an_opaque_alpha_channel_becomes_zero():
    given = arrays(features=(6, 5, 4), dtype=np.uint8)
    for part in ("train_x", "test_x"):
        given[part][..., 3] = 255
    ds = data.from_arrays("alpha", **given, device="cpu")
    assert ds.test_x[:, 3].abs().max() < 1e-6 and ds.test_x[:, :3].std() > 0.5


@pytest.mark.parametrize("dtype", [np.int64, np.int32, np.uint16])
def test_token_ids_stay_whole_and_train_an_embedding(dtype):
    given = arrays(features=(7,), dtype=dtype)
    ds = data.from_arrays("tokens", **given, device="cpu")
    x, y = ds.gather([3, 0])
    assert x.dtype == ds.test_x.dtype == torch.int64
    assert np.array_equal(x, given["train_x"][[3, 0]]) and np.array_equal(ds.test_x, given["test_x"])
    net = networks.wrap(lambda: nn.Sequential(nn.Embedding(256, 3), nn.Flatten(), nn.Linear(21, 3)), "cpu")
    recipe = training.Recipe(steps=4, batch_size=5, lr=0.1)
    state = net.init(replicates=2, seed=0)
    trained = training.train(net, state, ds, recipe, order_seed=0)
    moved = {name for name in state if not torch.equal(state[name], trained[name])}
    assert moved == {"0.weight", "2.weight", "2.bias"}
    with pytest.raises(ValueError, match="augment is True.*images"):
        data.from_arrays("tokens", **given, device="cpu", augment=True)


def test_what_is_no_array():
    for value in ([[1.0, 2.0], [3.0]], torch.eye(4).to_sparse(), {"a": 1}, None, "text"):
        with pytest.raises(ValueError, match="mine: train_x (is no array|has type)"):
            data.from_arrays("mine", **{**arrays(), "train_x": value}, device="cpu")


# torchvision's sets


def write_idx(folder, part, x, y):
    """The idx files that torchvision expects of MNIST."""
    folder.mkdir(parents=True, exist_ok=True)
    (folder / f"{part}-images-idx3-ubyte").write_bytes(struct.pack(">4i", 2051, *x.shape) + x.tobytes())
    (folder / f"{part}-labels-idx1-ubyte").write_bytes(struct.pack(">2i", 2049, len(y)) + y.tobytes())


def take_for_published(monkeypatch, folder):
    """Let the checksums of these files be those that are known."""
    for path in (folder / "raw").iterdir():
        known = hashlib.md5(path.read_bytes()).hexdigest()
        monkeypatch.setitem(data._MD5, path.relative_to(folder.parent).as_posix(), known)


@pytest.fixture
def offline(monkeypatch):
    """No network: every request is refused, and noted."""
    asked = []

    def refuse(request, *_, **__):
        asked.append(request)
        raise urllib.error.URLError("no network here")

    monkeypatch.setattr("urllib.request.urlopen", refuse)
    return asked


@pytest.mark.parametrize(("name", "folder"), [("mnist", "MNIST"), ("fashion_mnist", "FashionMNIST")])
def test_torchvision_sets_are_read_from_the_folder(tmp_path, monkeypatch, offline, name, folder):
    rng = np.random.default_rng(0)
    x, y = rng.integers(0, 256, (9, 28, 28), np.uint8), np.array([0, 1, 2, 3, 4, 0, 1, 4, 2], np.uint8)
    write_idx(tmp_path / folder / "raw", "train", x[:6], y[:6])
    write_idx(tmp_path / folder / "raw", "t10k", x[6:], y[6:])
    take_for_published(monkeypatch, tmp_path / folder)
    monkeypatch.setenv("LOTTERYLIB_DATA", str(tmp_path))
    ds = data.load(name, device="cpu")
    assert ds.name == name and ds.num_classes == 5 and not ds.augment and not offline
    assert np.array_equal(ds.train_x, x[:6]) and ds.train_x.dtype == torch.uint8
    mean, std = x[:6].mean() / 255, x[:6].std() / 255
    assert np.allclose(ds.test_x, (x[6:, None] / 255 - mean) / std, atol=1e-5) and ds.test_y.tolist() == [1, 4, 2]


@pytest.mark.parametrize(
    ("name", "place"),
    [
        ("mnist", r"MNIST/raw/"), ("fashion_mnist", "FashionMNIST/raw/"), ("cifar10", "cifar-10-batches-py"),
        ("cifar100", "cifar-100-python"),
    ],
)  # fmt: skip
def test_without_disk_and_network_it_says_what_goes_where(tmp_path, monkeypatch, offline, name, place):
    monkeypatch.setenv("LOTTERYLIB_DATA", str(tmp_path / "not yet there"))
    with pytest.raises(FileNotFoundError, match=f"(?s)'{name}'.*there/{place}.*LOTTERYLIB_DATA.*'mnist1d' needs no"):
        data.load(name, device="cpu")
    assert offline, "it was tried"


def test_cifar_with_a_wrong_checksum_is_refused_and_kept(tmp_path, monkeypatch, offline):
    monkeypatch.setenv("LOTTERYLIB_DATA", str(tmp_path))
    file = tmp_path / "cifar-10-batches-py" / "data_batch_2"
    file.parent.mkdir()
    file.write_bytes(b"not the published pictures")
    with pytest.raises(ValueError, match=r"data_batch_2 has the MD5 checksum [0-9a-f]{32}; .* is d4bba439e000b95fd0a9"):
        data.load("cifar10", device="cpu")
    assert file.read_bytes() == b"not the published pictures" and not offline


@pytest.mark.parametrize(
    ("keep", "part"), [(0, "images-idx3"), (9, "images-idx3"), (-1, "images-idx3"), (-3, "labels-idx1"),
                       ("flip", "images-idx3"), ("flip", "labels-idx1")]
)  # fmt: skip
def test_a_damaged_file_of_mnist_is_named_and_kept(tmp_path, monkeypatch, offline, keep, part):
    folder = tmp_path / "MNIST" / "raw"
    for name in ("train", "t10k"):
        write_idx(folder, name, np.zeros((9, 28, 28), np.uint8), np.zeros(9, np.uint8))
    take_for_published(monkeypatch, folder.parent)
    file = folder / f"t10k-{part}-ubyte"
    whole = file.read_bytes()
    damaged = whole[:-1] + b"\1" if keep == "flip" else whole[:keep]
    file.write_bytes(damaged)
    monkeypatch.setenv("HOME", str(tmp_path.parent))
    monkeypatch.setenv("LOTTERYLIB_DATA", f"~/{tmp_path.name}")
    with pytest.raises(ValueError, match=f"{tmp_path.name}/MNIST/raw/t10k-{part}-ubyte has the MD5 checksum"):
        data.load("mnist", device="cpu")
    assert file.read_bytes() == damaged and not offline


def test_the_lossy_copy_of_cifar10_goes_by_its_own_name_and_is_augmented(tmp_path, monkeypatch, offline):
    monkeypatch.setenv("LOTTERYLIB_DATA", str(tmp_path))
    with pytest.raises(FileNotFoundError, match=r"cifar10_jpeg75.npz does not exist.*lossy.*JPEG.*never downloaded"):
        data.load("cifar10_jpeg75", device="cpu")
    assert not offline
    given = arrays(features=(32, 32, 3), dtype=np.uint8)
    np.savez(tmp_path / "cifar10_jpeg75.npz", **given, name="CIFAR-10 (JPEG-75 copy)")
    ds = data.load("cifar10_jpeg75", device="cpu")
    assert ds.name == "cifar10_jpeg75" and ds.augment and np.array_equal(ds.train_x, given["train_x"])
    assert not data.load("cifar10_jpeg75", device="cpu", augment=False).augment


# Augmentation


def test_every_augmented_image_is_a_crop_and_flip_of_its_own(pictures):
    """Each is one of the 9 x 9 x 2 images that padding by four, cropping and flipping can give, and all occur."""
    n = 900
    picture = torch.arange(1, 8 * 8 * 3 + 1, dtype=torch.uint8).view(8, 8, 3)
    padded = np.zeros((16, 16, 3))
    padded[4:12, 4:12] = picture
    possible = {}
    for down in range(9):
        for right in range(9):
            crop = padded[down : down + 8, right : right + 8]
            possible[crop.tobytes()] = down, right, False
            possible[np.ascontiguousarray(crop[:, ::-1]).tobytes()] = down, right, True
    assert len(possible) == 162
    ds = data.Dataset("one", picture[None], torch.tensor([2]), None, None, 3, torch.zeros(3), torch.ones(3), True)
    x, y = ds.gather(torch.zeros(30, n // 30, dtype=torch.int64), drawn_views((30, n // 30), 0))
    assert x.shape == (30, n // 30, 3, 8, 8) and (y == 2).all()
    drawn = [possible[one.mul(255).round().double().permute(1, 2, 0).numpy().tobytes()] for one in x.flatten(0, 1)]
    for axis in (0, 1):
        counts = np.bincount([draw[axis] for draw in drawn], minlength=9)
        assert counts.min() > 60 and counts.max() < 145  # 100 each expected, standard deviation 9.4
    flipped = np.mean([draw[2] for draw in drawn])
    assert abs(flipped - 0.5) < 0.07
    assert abs(np.corrcoef(np.array(drawn, float).T)[np.triu_indices(3, 1)]).max() < 0.14  # drawn independently


def test_augmentation_needs_a_generator_and_follows_it(pictures):
    indices = torch.arange(40)
    plain, _ = pictures.gather(indices)
    first, second = (pictures.gather(indices, drawn_views(indices.shape, s))[0] for s in (1, 2))
    assert torch.equal(pictures.gather(indices, drawn_views(indices.shape, 1))[0], first)
    assert not torch.equal(first, second) and not torch.equal(first, plain)
    assert torch.equal(pictures.gather(indices)[0], plain)
    expected = (pictures.train_x[:40].double() / 255).movedim(3, 1)
    mean, std = expected.new_zeros(3), expected.new_zeros(3)
    for c in range(3):
        channel = pictures.train_x[..., c].double() / 255
        mean[c], std[c] = channel.mean(), channel.std(correction=0)
    assert_close(plain.double(), (expected - mean[:, None, None]) / std[:, None, None], rtol=1e-4, atol=1e-4)


def test_grey_pictures_are_augmented_too():
    grey = data.from_arrays("grey", **arrays(features=(8, 8), dtype=np.uint8), device="cpu", augment=True)
    colour = data.from_arrays(
        "colour", **{k: np.stack([v] * 3, -1) if k.endswith("_x") else v
                     for k, v in arrays(features=(8, 8), dtype=np.uint8).items()}, device="cpu", augment=True,
    )  # fmt: skip
    indices = torch.arange(20)
    x, _ = grey.gather(indices, drawn_views(indices.shape, 1))
    y, _ = colour.gather(indices, drawn_views(indices.shape, 1))
    assert_close(x, y[:, :1])


def test_an_npz_of_pictures_is_augmented_on_request(tmp_path):
    given = arrays(features=(8, 8, 3), dtype=np.uint8)
    np.savez(tmp_path / "cifar.npz", **given)
    assert not data.load(tmp_path / "cifar.npz", "cpu").augment
    augmented = data.load(tmp_path / "cifar.npz", "cpu", augment=True)
    expected = data.from_arrays("mine", **given, device="cpu", augment=True)
    assert augmented.augment is True and augmented.digest == expected.digest
    for entry in (True, False):
        np.savez(tmp_path / "cifar.npz", **given, augment=entry)
        found = [data.load(tmp_path / "cifar.npz", "cpu", augment=augment).augment for augment in (None, True, False)]
        assert found == [entry, True, False]
    with pytest.raises(ValueError, match="augment is 'no', which is unknown; allowed are False, True"):
        data.load(tmp_path / "cifar.npz", "cpu", augment="no")


def test_features_cannot_be_augmented():
    with pytest.raises(ValueError, match="augment is True.*images"):
        data.from_arrays("x", **arrays(), device="cpu", augment=True)


def test_constant_inputs_stay_finite():
    given = arrays()
    given["train_x"][:] = 3
    given["test_x"][:] = 3
    ds = data.from_arrays("flat", **given, device="cpu")
    assert (ds.test_x == 0).all()
    recipe = training.Recipe(steps=1, batch_size=20)
    assert (next(twins.batches(ds, recipe, [0]))[0] == 0).all()
