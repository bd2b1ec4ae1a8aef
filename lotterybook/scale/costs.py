"""What each scale costs: weights, training steps, operations, and hours of a card whose speed was measured once."""

import json
import math
import time
from pathlib import Path
from typing import NamedTuple

import torch

from lotterylib import architectures, data, imp, networks, store, training

from .. import records
from ..presets import PRESETS
from ..verdicts import Text, percent, table

INPUTS = {  # shape of an input, classes, training examples
    "mnist1d": ((40,), 10, 4000),
    "fashion_mnist": ((1, 28, 28), 10, 60000),
    "cifar10": ((3, 32, 32), 10, 50000),
    "cifar10_jpeg75": ((3, 32, 32), 10, 50000),
    "cifar100": ((3, 32, 32), 100, 50000),
    "imagenet": ((3, 224, 224), 1000, 1281167),
}

CALLED = {  # what a dataset is called where it shows
    "mnist1d": "MNIST-1D", "fashion_mnist": "Fashion-MNIST", "cifar10": "CIFAR-10", "cifar100": "CIFAR-100",
    "cifar10_jpeg75": "CIFAR-10, a lossy copy (JPEG, quality 75)",
}  # fmt: skip

LARGER = {"levels": 15, "replicates": 3}  # what we assume of runs beyond the presets, besides one rewind step

_BATCH, _CARDS = 1024, 100  # of ResNet-50 on ImageNet; of a cluster that is only thought of

ALONE = "eager, bfloat16, one at a time"  # ways to train, as they are called where their speed was measured
CAPTURED = "library, bfloat16, 1 graphs"
OF_THE_BLOCK = "library, bfloat16, 4 stacked"
FASTEST = "library, bfloat16, 16 stacked"

_RESULTS = Path(__file__).resolve().parent.parent.parent / "benchmarks" / "results"  # of two leases of one kind of card
_TIMES, _PROBES = "h200-2026-11-26-b.json", "h200-2026-11-26.json"


def examples(preset) -> int:
    """Training examples that a preset uses."""
    return PRESETS[preset].examples or INPUTS[PRESETS[preset].dataset][2]


class Work(NamedTuple):
    """What an IMP run takes: weights, training steps of all replicates together, and operations of one step."""

    weights: int
    steps: int
    step_operations: float

    @property
    def operations(self) -> float:
        """Floating-point operations of the whole run."""
        return self.steps * self.step_operations

    @classmethod
    def of(cls, preset):
        """The work of the main run of a preset."""
        arm, dataset = PRESETS[preset].main, PRESETS[preset].dataset
        return cls.count(lambda shape, classes: architectures.module(arm.network, shape, classes, **arm.options),
                         dataset, arm.config)  # fmt: skip

    @classmethod
    def count(cls, make, dataset, config):
        """The work of a run: ``make(shape, classes)`` gives the network, ``dataset`` is one of ``INPUTS``.

        A step is counted by torch, forward and backward, without allocating anything; multiplication and addition are
        two operations, and what is not a product of matrices or a convolution is not counted.
        """
        from torch.utils.flop_counter import FlopCounterMode

        shape, classes, _ = INPUTS[dataset]
        with torch.device("meta"), FlopCounterMode(display=False) as counter:
            module = make(shape, classes)
            module(torch.empty(config.recipe.batch_size, *shape)).sum().backward()
        prunable = networks.prunable_weights(module)
        weights = sum(module.get_parameter(name).numel() for name in prunable)
        steps = sum(config.steps_of(level) for level in range(config.levels + 1))
        return cls(weights, steps, counter.get_total_flops())


def larger() -> dict:
    """Runs beyond the presets, by name: the paper's other two networks, at one rewind step, as large as ``LARGER``."""

    def config(recipe, rewind_step):
        return imp.Config(recipe, rewind_step=rewind_step, **LARGER)

    def resnet50(shape, classes):
        return data.import_torchvision().models.resnet50(num_classes=classes)

    small = training.Recipe(steps=78000, batch_size=128)
    large = training.Recipe(steps=90 * (INPUTS["imagenet"][2] // _BATCH), batch_size=_BATCH)
    return {
        "ResNet-18, CIFAR-100": Work.count(
            lambda shape, classes: architectures.module("resnet18", shape, classes), "cifar100", config(small, 2000)
        ),
        "ResNet-50, ImageNet": Work.count(resnet50, "imagenet", config(large, 5000)),
    }


def speed(preset, device="auto", replicates=2, seconds=2.0) -> float:
    """Measure steps per second, all replicates together, of a preset's network here, on random inputs of its size."""
    arm, (shape, classes, _) = PRESETS[preset].main, INPUTS[PRESETS[preset].dataset]
    recipe, images = arm.config.recipe, len(shape) == 3
    count = 2 * recipe.batch_size
    x = torch.randint(256, (count, *shape[1:], shape[0]), dtype=torch.uint8) if images else torch.randn(count, *shape)
    y = torch.arange(count) % classes
    ds = data.from_arrays("random", x, y, x, y, device=device)
    net = networks.build(arm.network, ds, **arm.options)
    doubling = [step for step in (2**i for i in range(1, 20)) if step <= recipe.steps]
    seen, begin = [], time.perf_counter()
    for point in training.trajectory(net, net.init(replicates), ds, recipe, at=doubling):
        if ds.device.type == "cuda":
            torch.cuda.synchronize()
        seen.append((point.step, time.perf_counter()))
        if len(seen) > 1 and seen[-1][1] - begin > seconds:
            break
    (first, early), (last, late) = seen[-2:]
    return replicates * (last - first) / (late - early)


class Bill(NamedTuple):
    """Seconds of training on the card in ``measured``; ``least``: if it did nothing but multiply, at its full rate.

    ``extrapolated``: at the rate of operations of ResNet-20, for a network that was not timed.
    """

    name: str
    work: Work
    seconds: float
    least: float
    extrapolated: bool


def measured() -> dict:
    """What one card did, once: ``device``, ``date``, ``rates`` in replicate-steps of ResNet-20 a second by way.

    ``peak``: products and sums a second of a large product in bfloat16, on the same kind of card; ``evaluation``:
    seconds for 10,000 pictures. From ``benchmarks/results``, so it is the same in every build.
    """
    timing, probes = (json.loads((_RESULTS / name).read_text())[part] for name, part in
                      ((_TIMES, "timing"), (_PROBES, "probes")))  # fmt: skip
    rates = {way: value for way, value in timing["found"].items() if "NCHW" not in way and not way.endswith(": ms")}
    peak = probes["found"]["bfloat16 product: TFLOP/s; copy: TB/s"][0] * 1e12
    return {
        "device": timing["device"], "date": timing["machine"]["date"], "rates": rates, "peak": peak,
        "evaluation": timing["found"]["10,000 pictures, the library: ms"] / 1000,
    }  # fmt: skip


def bills() -> list:
    """What runs of ResNet-20, and of the paper's larger networks, take on the card in ``measured``: a ``Bill`` each."""
    card, found = measured(), []
    for name, preset, way in (
        ("ResNet-20, one block", "lent", OF_THE_BLOCK), ("ResNet-20, published", "paper", FASTEST),
    ):  # fmt: skip
        work = Work.of(preset)
        found.append(Bill(name, work, work.steps / card["rates"][way], work.operations / card["peak"], False))
    rate = card["rates"][FASTEST] * Work.of("paper").step_operations
    for name, work in larger().items():
        found.append(Bill(name, work, work.operations / rate, work.operations / card["peak"], True))
    return found


def told(bill) -> str:
    """How long a bill is, in words."""
    return f"{duration(bill.seconds)}, not under {duration(bill.least)}" + ", extrapolated" * bill.extrapolated


def budget() -> Text:
    """The bills as a table."""
    rows = [
        [bill.name, f"{bill.work.weights:,}", f"{bill.work.steps:,}", _power(bill.work.operations),
         duration(bill.seconds) + " (extrapolated)" * bill.extrapolated, duration(bill.least)]
        for bill in bills()
    ]  # fmt: skip
    card = measured()["device"]
    header = ["run", "weights", "steps, all replicates", "operations", f"on one {card}", "if it only multiplied"]
    return table(header, rows)


def many(bill, cards) -> dict:
    """What the ``Bill`` of ResNet-50 would take on many cards, by name, in seconds and bytes: on paper, not run.

    Levels follow each other, so only its replicates are jobs of their own: ``jobs``, with a card for each. For all
    cards to work each training has to divide its batches among ``group`` of them: ``divided``, if that cost nothing,
    and ``step``. ``traffic``: bytes a second that a card then sends to average the gradients, of ``gradient`` bytes in
    float32, twice in every step (a ring). ``pictures`` a second that all cards read, of ``pixels`` bytes;
    ``stored``: bytes of the whole training set. ``factor``: how many times as fast the cards would be at their full
    rate, and with them what they send and read.
    """
    replicates, (shape, _, examples) = LARGER["replicates"], INPUTS["imagenet"]
    group, picture, gradient = cards // replicates, math.prod(shape), 4 * bill.work.weights
    step = bill.seconds / bill.work.steps / group
    pictures = replicates * _BATCH / step
    return {
        "jobs": bill.seconds / replicates, "group": group, "divided": bill.seconds / (replicates * group), "step": step,
        "gradient": gradient, "traffic": 2 * gradient / step, "pictures": pictures, "pixels": pictures * picture,
        "stored": examples * picture, "factor": bill.seconds / bill.least,
    }  # fmt: skip


def numbers() -> dict:
    """The numbers of this module that chapter 7 quotes, by name."""
    card, work, (block, paper, _, largest) = measured(), Work.of("lent"), bills()
    config, points = PRESETS["lent"].main.config, PRESETS["lent"].tickets.points
    evaluations = config.levels * points * config.replicates * len(config.rewind_step)
    captured, fastest, cluster = card["rates"][CAPTURED], card["rates"][FASTEST], many(largest, _CARDS)
    return {
        "card": card["device"],
        "card fastest": f"{fastest:,}",
        "card captured": f"{captured:,}",
        "card price of 16": f"{16 * captured / fastest:.1f}",
        "card share": percent(fastest * work.step_operations / card["peak"], 0),
        "block duration": duration(block.seconds),
        "block evaluations": f"{evaluations:,}",
        "block evaluations duration": duration(evaluations * card["evaluation"]),
        "paper duration": duration(paper.seconds),
        "largest duration": duration(largest.seconds),
        "largest least": duration(largest.least),
        "cluster cards": str(_CARDS),
        "cluster jobs": duration(cluster["jobs"]),
        "cluster group": str(cluster["group"]),
        "cluster divided": duration(cluster["divided"]),
        "cluster step": f"{1000 * cluster['step']:.0f} milliseconds",
        "cluster gradient": f"{cluster['gradient'] / 1e6:.0f} megabytes",
        "cluster traffic": f"{cluster['traffic'] / 1e9:.0f} gigabytes",
        "cluster pictures": f"{round(cluster['pictures'], -3):,.0f}",
        "cluster pixels": f"{cluster['pixels'] / 1e9:.0f} gigabytes",
        "cluster stored": f"{cluster['stored'] / 1e9:.0f} gigabytes",
        "cluster factor": f"{cluster['factor']:.0f}",
        "larger replicates": str(LARGER["replicates"]),
        "larger levels": str(LARGER["levels"]),
    }


def usual_seconds(preset) -> dict:
    """Seconds that the published records of a preset took, by experiment; of the book where it has none."""
    for name in (preset, "book"):
        read = {path.stem: store.read(path) for path in (records.PUBLISHED / name).glob("*.safetensors")}
        told = {name: record[1]["seconds"] for name, record in read.items() if record and "experiment" in record[1]}
        if told:
            break
    return told


def time_left(preset, made, names) -> str:
    """How long the experiments ``names`` that are not ``made`` will take, by what those took and what is usual.

    One that no record tells of counts as the mean of the others.
    """
    usual, spent = usual_seconds(preset), sum(record.about["seconds"] for record in made.values())
    mean = sum(usual.values()) / len(usual) if usual else 1.0
    done, all_of_them = (sum(usual.get(name, mean) for name in some) for some in (made, names))
    return duration(spent * (all_of_them - done) / done) if done else "an unknown time"


def forecast(preset) -> Text:
    """What making the records of a preset will take, told before it begins: counted, and estimated for experiments.

    Counted are replicate-steps of the two IMP runs and evaluations between the levels. An experiment is estimated by
    its share of time when the records of the book were made, next to the main run: other presets differ in detail.
    """
    chosen, work = PRESETS[preset], Work.of(preset)
    config = chosen.contrast.config
    contrast = sum(config.steps_of(level) for level in range(config.levels + 1))
    main, points = chosen.main.config, chosen.tickets.points
    lines = Text([
        f"main run: {work.steps:,} replicate-steps ({work.operations:.1e} operations), contrast: {contrast:,}",
        f"a replicate-step sees {main.recipe.batch_size} of {examples(preset):,} examples; barriers between successive "
        f"levels take {main.levels * points * main.replicates * len(main.rewind_step):,} evaluations",
    ])  # fmt: skip
    none = () if chosen.limits.exact_levels else ("exact",)
    seconds = {name: spent for name, spent in usual_seconds(preset).items() if name not in none}
    if whole := seconds.get("winning_tickets"):
        lines += [f"{name}: about {work.steps * spent / whole:.1e}" for name, spent in sorted(seconds.items())]
        total = work.steps * sum(seconds.values()) / whole
        lines.append(f"all: about {total:.1e} replicate-steps, {duration(total / 1000)} at 1,000 a second")
    return lines


def _power(value):
    """Two digits and a power of ten, for numbers from one on."""
    mantissa, exponent = f"{value:.1e}".split("e")
    return f"{mantissa}\u00a0·\u00a010{str(int(exponent)).translate(str.maketrans('0123456789', '⁰¹²³⁴⁵⁶⁷⁸⁹'))}"


def duration(seconds) -> str:
    """A time in the largest unit of which it has two."""
    for unit, length in (("years", 365 * 86400), ("days", 86400), ("hours", 3600), ("minutes", 60)):
        if seconds >= 2 * length:
            return f"{seconds / length:,.0f} {unit}"
    return f"{seconds:.0f} seconds"
