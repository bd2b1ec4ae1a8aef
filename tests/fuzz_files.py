"""What reads files, given files that another hand wrote: the targets, and the command that fuzzes them.

``python tests/fuzz_files.py npz -max_total_time=200`` (or ``checkpoint``, ``record``) needs atheris, which is no part
of the book's environment: ``pip install atheris``. It changes a file part by part and seals it again, so that checksums
do not end every try, and follows the branches of the readers. ``tests/test_hostile_files.py`` uses the same targets.
"""

import functools
import inspect
import io
import json
import random
import resource
import sys
import tempfile
import warnings
import zipfile
from pathlib import Path

import numpy as np
import torch
from safetensors.torch import load, save
from torch import nn

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT))  # the book's package is not installed

from lotterybook import records  # noqa: E402
from lotterylib import checks, data, imp, networks, pruning, states, store, training  # noqa: E402

MEMORY = 2**29  # bytes that one small file may cost, at most
EVENTS = ("pickle.find_class", "os.system", "os.exec", "os.posix_spawn", "subprocess.Popen", "socket.connect")


class Escape(BaseException):
    """What no file may bring about; no ``except Exception`` of a reader holds it back."""


class Npz:
    """A dataset's file: one part for each member of the archive."""

    def __init__(self, folder):
        self.path = folder / "own.npz"

    def seeds(self):
        """Valid files, with all that a file may hold."""
        y = np.arange(6) % 3
        given = (
            np.arange(24.0).reshape(6, 4),
            np.arange(72, dtype=np.uint8).reshape(6, 3, 4),
            np.arange(12).reshape(6, 2),
        )
        for x in given:
            file = io.BytesIO()
            np.savez(file, train_x=x, train_y=y, test_x=x, test_y=y, name="own", augment=x.dtype == np.uint8)
            yield file.getvalue()

    def parts(self, content):
        with zipfile.ZipFile(io.BytesIO(content)) as archive:
            return {name: archive.read(name) for name in archive.namelist()}

    def joined(self, parts):
        file = io.BytesIO()
        with zipfile.ZipFile(file, "w") as archive:
            for name, content in parts.items():
                archive.writestr(name, content)
        return file.getvalue()

    def read(self, content):
        """Whether the file is of use. Raises whatever the reader does, but for ``ValueError``."""
        self.path.write_bytes(content)
        try:
            ds = data.load(self.path, "cpu")
        except ValueError:
            return False
        assert ds.train_x.shape[1:] and int(ds.train_y.min()) >= 0 and int(ds.train_y.max()) < ds.num_classes
        assert ds.test_x.isfinite().all() and ds.training_set()[0].isfinite().all()
        return True


class Checkpoint:
    """A file of a run, sealed with its checksum; its parts are what is said about it, its header and its bytes."""

    def __init__(self, folder):
        x, y = torch.randn(30, 4, generator=torch.Generator().manual_seed(0)), torch.arange(30) % 3
        ds = data.from_arrays("small", x, y, x, y, device="cpu")
        self.net = networks.wrap(lambda: nn.Sequential(nn.Linear(4, 3), nn.BatchNorm1d(3)), "cpu")
        self.config = imp.Config(training.Recipe(steps=3, batch_size=10), levels=1, replicates=2)
        imp.run(self.net, ds, self.config, folder)
        self.files = imp._folder(self.net, ds, self.config, folder)
        self.path = self.files.path / "fuzzed.safetensors"

    def seeds(self):
        whole = [path.read_bytes() for path in sorted(self.path.parent.glob("[rl]*.safetensors"))]
        return [
            self.joined(self.parts(content)) for content in whole
        ]  # without its name, which is not that of ``path``

    def parts(self, content):
        end = 8 + int.from_bytes(content[:8], "little")
        header = json.loads(content[8:end])
        about = header.pop("__metadata__")["about"]
        return {"about": about.encode("latin1"), "header": json.dumps(header).encode("latin1"), "data": content[end:]}

    def varied(self, parts, rng):
        """The parts with one field of one entry of the header changed, or that entry's name."""
        header = json.loads(parts["header"])
        name = rng.choice(sorted(header))
        entry, field = header.pop(name), rng.choice(["dtype", "shape", "data_offsets", "name"])
        if field == "dtype":
            entry[field] = rng.choice(["F16", "F64", "I64", "U8", "BOOL", "F8_E5M2", "C64"])
        elif field != "name":
            entry[field] = [rng.choice([0, 1, 2, 3, 4, 12, 24, 2**40, 2**62, 2**63]) for _ in range(rng.randrange(4))]
        header[rng.choice(["a", "state", "state/a/b", name + "/a", "%00"]) if field == "name" else name] = entry
        return {**parts, "header": json.dumps(header).encode()}

    def joined(self, parts):
        header, about = json.loads(parts["header"].decode("latin1")), parts["about"].decode("latin1")

        def file(told):
            text = json.dumps({**header, "__metadata__": told}).encode()
            return len(text).to_bytes(8, "little") + text + parts["data"]

        try:
            return file({"about": about, "digest": store.digest(load(file({})), about)})
        except Exception:  # what cannot be read has no checksum, and is tried with a wrong one
            return file({"about": about, "digest": ""})

    def read(self, content):
        self.path.write_bytes(content)
        level, point = (
            self.files.load("fuzzed", functools.partial(unpack, self.net, self.config))
            for unpack in (imp._level, imp._point)
        )
        if level:
            self.net.check(level.state, level.mask)
            assert pruning.density(level.mask) >= 0 and len(level.error) == 2 and set(level.diverged) <= {0, 1}
        if point:
            assert self.net.check(point) == 2
        return bool(level or point)


class Record(Checkpoint):
    """A published record; another part is the manifest, in which SUM stands for the file's checksum."""

    SETTINGS = {"lr": 0.1}

    def __init__(self, folder):
        records.PUBLISHED = folder / "records"
        self.path = records.PUBLISHED / "smoke" / "demo.safetensors"
        self.path.parent.mkdir(parents=True)

    def seeds(self):
        own, arrays = (
            records.key("demo", self.SETTINGS, "data"),
            {"error": torch.tensor([0.5, 1.0]), "level": torch.tensor(3)},
        )
        about = json.dumps({"key": own, "data": "data", "seconds": 1.0})
        made = save(arrays, {"about": about, "digest": store.digest(arrays, about)})
        return [made + b'\0\0{"smoke/demo.safetensors": "SUM"}']

    def parts(self, content):
        content, _, manifest = content.rpartition(b"\0\0")
        return {**super().parts(content), "manifest": manifest}

    def joined(self, parts):
        return super().joined(parts) + b"\0\0" + parts["manifest"]

    def read(self, content):
        content, _, manifest = content.rpartition(b"\0\0")
        self.path.write_bytes(content)
        manifest = manifest.replace(b"SUM", records._sha256(self.path).encode())
        (records.PUBLISHED / "manifest.json").write_bytes(manifest)
        records.published_runs("smoke")
        found = [records.published("demo", "smoke", self.SETTINGS, digest) for digest in ("data", None)]
        assert all(torch.is_tensor(value) or isinstance(value, dict) for one in found if one for value in one.values())
        return any(found)


TARGETS = {"npz": Npz, "checkpoint": Checkpoint, "record": Record}


def peak():
    """Bytes of memory that this process has held at most."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * (1 if sys.platform == "darwin" else 1024)


def watched(target, folder):
    """``target.read``, which raises ``Escape`` for memory, what is unpickled or run, and files outside ``folder``."""
    armed, places = [], (str(folder), str(ROOT), sys.prefix, sys.base_prefix, "/proc/", "/sys/", "/dev/null")

    def hook(event, arguments):
        if armed and event in EVENTS:
            raise Escape(f"{event} {arguments}")
        if armed and event == "open" and isinstance(arguments[0], str | bytes | Path):
            path = Path(str(arguments[0], "utf8", "replace") if isinstance(arguments[0], bytes) else arguments[0])
            if path.is_absolute() and not str(path.resolve()).startswith(places):
                raise Escape(f"opened {path}")

    def read(content):
        before = peak()
        armed.append(True)
        try:
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")
                return target.read(content)
        finally:
            armed.clear()
            if peak() - before > MEMORY:
                raise Escape(f"{(peak() - before) / 1e6:.0f} MB for {len(content)} bytes")

    sys.addaudithook(hook)
    return read


def functions(module):
    """The functions and methods that a module defines in Python."""
    own = [value for value in vars(module).values() if getattr(value, "__module__", None) == module.__name__]
    return [
        f
        for value in own
        for f in (vars(value).values() if inspect.isclass(value) else [value])
        if inspect.isfunction(f)
    ]


def main(name, *options):
    """Fuzz one target until an error or the end of the time; libFuzzer's ``options``, and its report at the end."""
    import atheris

    with tempfile.TemporaryDirectory() as place:
        folder = Path(place).resolve()
        for module in (checks, data, store, states, imp, records, np.lib.format, zipfile):
            for function in functions(module):
                atheris.instrument_func(function)
        target = TARGETS[name](folder)
        corpus = folder / "corpus"
        corpus.mkdir()
        for i, seed in enumerate(target.seeds()):
            (corpus / str(i)).write_bytes(seed)

        def mutated(content, most, seed):
            """The content with one part changed and sealed again; one in ten as it comes, checksum and all."""
            try:
                parts, rng = target.parts(content), random.Random(seed)
                if hasattr(target, "varied") and rng.random() < 0.3:
                    return target.joined(target.varied(parts, rng))[:most]
                part = rng.choice(sorted(parts))
                parts[part] = atheris.Mutate(parts[part], 2 * len(parts[part]) + 64)
                return target.joined(parts)[:most] if rng.random() < 0.9 else atheris.Mutate(content, most)
            except Exception:  # no longer a file of parts
                return atheris.Mutate(content, most)

        resource.setrlimit(resource.RLIMIT_AS, (2**34, resource.RLIM_INFINITY))  # a bomb must not harm the machine
        read = watched(target, folder)
        limits = ["-max_len=65536", "-timeout=30", "-print_final_stats=1", "-rss_limit_mb=4096"]
        atheris.Setup(
            [sys.argv[0], *limits, *options, str(corpus)], lambda content: read(content), custom_mutator=mutated
        )
        atheris.Fuzz()


if __name__ == "__main__":
    if len(sys.argv) < 2 or sys.argv[1] not in TARGETS:
        sys.exit(f"usage: python {sys.argv[0]} {{{','.join(TARGETS)}}} [-max_total_time=SECONDS]")
    torch.set_num_threads(1)
    main(*sys.argv[1:])
