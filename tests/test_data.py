"""Datasets: shapes, normalisation, augmentation, and what is said about unusable ones."""

import pickle
import random
import struct
import urllib.error
from pathlib import Path

import numpy as np
import pytest
import torch
from torch.testing import assert_close

from lotterylib import data, order, training


def arrays(train=20, test=10, features=(4,), classes=3, seed=0, dtype=np.float64):
    """The four arrays of an .npz, every class in both parts."""
    rng = np.random.default_rng(seed)
    x = rng.integers(0, 256, (train + test, *features)).astype(dtype)
    y = np.arange(train + test) % classes
    return {"train_x": x[:train], "train_y": y[:train], "test_x": x[train:], "test_y": y[train:]}


# Names


@pytest.mark.parametrize(("name", "near"), [("mnist_1d", "mnist1d"), ("fashion-mnist", "fashion_mnist")])
def test_an_unknown_dataset_is_named_with_the_closest(name, near):
    with pytest.raises(ValueError, match=f"dataset is '{name}'.*'digits'.*'cifar100'.*did you mean '{near}'"):
        data.load(name)


def test_cuda_asked_for_and_absent(monkeypatch):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    for device in ("cuda", "cuda:1", torch.device("cuda")):
        with pytest.raises(ValueError, match="device is 'cuda.*no CUDA device; allowed here are 'auto' and 'cpu'"):
            data.from_arrays("x", **arrays(), device=device)
    assert data.find_device("auto") == data.find_device("cpu") == torch.device("cpu")
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    assert data.find_device("auto") == torch.device("cuda")


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
    assert mnist1d.batch(torch.arange(4000))[0].std().item() == pytest.approx(1, abs=1e-3)


def test_another_seed_of_mnist1d_is_a_fresh_draw(mnist1d):
    fresh = data.from_arrays("mnist1d", **data.mnist1d(seed=7), device="cpu")
    assert fresh.train_x.shape == (4000, 40) and fresh.test_x.shape == (5000, 40)
    seen = {row.tobytes() for row in mnist1d.train_x.numpy()}
    assert not any(row.tobytes() in seen for row in fresh.train_x.numpy())
    assert fresh.fingerprint != mnist1d.fingerprint
    assert fresh.train_x.std().item() == pytest.approx(mnist1d.train_x.std().item(), rel=0.05)


def test_digits_is_all_of_scikit_learns():
    from sklearn.datasets import load_digits

    ds, (x, y) = data.load("digits", device="cpu"), load_digits(return_X_y=True)
    assert ds.train_x.shape == (1347, 64) and ds.test_x.shape == (450, 64) and ds.num_classes == 10
    test_x = (ds.test_x * ds.std + ds.mean).round().numpy()
    rows = np.concatenate([ds.train_x.numpy(), test_x])
    labels = np.concatenate([ds.train_y, ds.test_y])
    key = lambda rows, labels: sorted((row.astype(int).tobytes(), int(label)) for row, label in zip(rows, labels))  # noqa: B905, E731
    assert key(rows, labels) == key(x, y)
    assert torch.bincount(ds.test_y).min() > 30  # mixed before it was split


# .npz files


def test_npz_of_features(tmp_path):
    given = arrays()
    np.savez(tmp_path / "mine.npz", **given, ignored=np.arange(3))
    ds = data.load(tmp_path / "mine.npz", device="cpu")
    assert ds.name == "mine" and ds.num_classes == 3 and not ds.augment
    assert ds.train_x.dtype == ds.test_x.dtype == torch.float32 and ds.train_y.dtype == torch.int64
    assert np.array_equal(ds.train_x.numpy(), given["train_x"])
    expected = (given["test_x"] - given["train_x"].mean()) / given["train_x"].std(ddof=1)
    assert np.allclose(ds.test_x, expected, atol=1e-5)
    x, y = ds.batch(torch.tensor([[3, 0], [3, 19]]))
    assert np.allclose(x[0, 0], (given["train_x"][3] - given["train_x"].mean()) / given["train_x"].std(), rtol=0.05)
    assert x.shape == (2, 2, 4) and torch.equal(x[0, 0], x[1, 0]) and y.tolist() == [[0, 0], [0, 1]]
    np.savez(tmp_path / "mine.npz", **given, name="better")
    assert data.load(str(tmp_path / "mine.npz"), device="cpu").name == "better"


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
        x, y = ds.batch(indices)
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
        (bad(test_y=np.full(10, 3)), "labels run from 0 to 3; they must be 0 to 2"),
        (bad(train_y=arrays()["train_y"] - 1), "labels run from -1 to 2; they must be 0 to 1"),
        (bad(test_y=arrays()["test_y"] - 1), "labels run from -1"),
        (bad(train_y=np.full(20, 0.5)), r"train_y has shape \(20,\) and type torch.float64; it must be 20 whole"),
        (bad(test_y=np.zeros((10, 3), int)), r"test_y has shape \(10, 3\)"),
        (bad(train_y=np.zeros(19, int)), r"train_y has shape \(19,\).*must be 20 whole numbers"),
        (bad(test_x=np.zeros((0, 4)), test_y=np.zeros(0, int)), "test_y has shape.*at least one"),
        (bad(train_x=np.zeros((0, 4)), train_y=np.zeros(0, int)), "train_y has shape.*at least one"),
        (bad(test_x=np.zeros((10, 5))), r"test_x entries are torch.float32 \(5,\), but train_x .*\(4,\)"),
        ({**arrays(features=(4, 3)), "test_x": np.zeros((10, 4, 3), np.uint8)}, r"test_x entries are torch.uint8"),
        (bad(train_x=np.full((20, 4), np.nan)), "train_x holds NaN or infinite"),
        (bad(test_x=np.full((10, 4), np.inf)), "test_x holds NaN or infinite"),
        (bad(train_y=np.array(["cat"] * 20)), "train_y has type <U3; it must hold numbers"),
        (arrays(dtype=np.uint8), r"uint8 of shape \(4,\); uint8 inputs are images"),
    ],
    ids=[
        "missing", "new-class", "negative", "negative-test", "float-labels", "one-hot", "too-few-labels", "empty-test",
        "empty-train", "other-features", "other-type", "nan", "infinite", "text-labels", "flat-images",
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
    with pytest.raises(ValueError, match=r"bad\.npz holds pickled objects"):
        data.load(tmp_path / "bad.npz", device="cpu")
    assert not mark.exists()
    pickle.loads(pickle.dumps(Trap(mark)))
    assert mark.exists(), "the test's own premise: the trap works"


@pytest.mark.parametrize("damage", ["pickle", "truncated", "corrupted", "empty", "text", "npy"])
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
    }[damage])  # fmt: skip
    with pytest.raises(ValueError, match=r"bad\.npz"):
        data.load(path, device="cpu")
    assert not mark.exists()


def test_a_missing_npz_says_what_it_must_hold(tmp_path):
    with pytest.raises(FileNotFoundError, match=r"nowhere\.npz does not exist.*train_x, train_y, test_x, test_y"):
        data.load(tmp_path / "nowhere.npz")


def test_the_fingerprint_tells_datasets_apart():
    def fingerprint(name="x", augment=False, **changes):
        return data.from_arrays(name, **{**given, **changes}, device="cpu", augment=augment).fingerprint

    given = arrays(features=(6, 5, 3), dtype=np.uint8)
    one_pixel, one_label = given["train_x"].copy(), given["test_y"].copy()
    one_pixel[3, 2, 1, 0] ^= 1
    one_label[4] = (one_label[4] + 1) % 3
    found = [
        fingerprint(), fingerprint("y"), fingerprint(augment=True), fingerprint(train_x=one_pixel),
        fingerprint(test_y=one_label), fingerprint(train_x=given["train_x"].astype(np.float32),
                                                   test_x=given["test_x"].astype(np.float32)),
    ]  # fmt: skip
    assert len(set(found)) == 6 and fingerprint() == found[0]
    given = arrays()
    assert fingerprint(train_x=given["train_x"] * (1 + 1e-7)) == fingerprint()  # the last bits of another machine
    assert fingerprint(train_x=given["train_x"] * 1.05) != fingerprint()


# torchvision's sets


def write_idx(folder, part, x, y):
    """The idx files that torchvision expects of MNIST."""
    folder.mkdir(parents=True, exist_ok=True)
    (folder / f"{part}-images-idx3-ubyte").write_bytes(struct.pack(">4i", 2051, *x.shape) + x.tobytes())
    (folder / f"{part}-labels-idx1-ubyte").write_bytes(struct.pack(">2i", 2049, len(y)) + y.tobytes())


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
    x, y = ds.batch(torch.zeros(30, n // 30, dtype=torch.int64), torch.Generator().manual_seed(0))
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
    plain, _ = pictures.batch(indices)
    first, second = (pictures.batch(indices, torch.Generator().manual_seed(s))[0] for s in (1, 2))
    assert torch.equal(pictures.batch(indices, torch.Generator().manual_seed(1))[0], first)
    assert not torch.equal(first, second) and not torch.equal(first, plain)
    assert torch.equal(pictures.batch(indices)[0], plain)
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
    x, _ = grey.batch(indices, torch.Generator().manual_seed(1))
    y, _ = colour.batch(indices, torch.Generator().manual_seed(1))
    assert_close(x, y[:, :1])


def test_an_npz_of_pictures_is_augmented_on_request(tmp_path):
    given = arrays(features=(8, 8, 3), dtype=np.uint8)
    np.savez(tmp_path / "mine.npz", **given)
    assert not data.load(tmp_path / "mine.npz", "cpu").augment
    augmented = data.load(tmp_path / "mine.npz", "cpu", augment=True)
    expected = data.from_arrays("mine", **given, device="cpu", augment=True)
    assert augmented.augment and augmented.fingerprint == expected.fingerprint


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
    assert (next(order.batches(ds, recipe, [0]))[0] == 0).all()
