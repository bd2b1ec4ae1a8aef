"""What holds at each scale, side by side, and what each scale costs."""

import math
import time
from typing import NamedTuple

import torch

from . import architectures, data, experiments, findings, imp, networks, records, training
from .findings import Text, table
from .presets import PRESETS

NEEDED = ("winning_tickets", "successive_barriers", "instability", "all_pairs", "projections")

# ResNet-20 on CIFAR-10, rewind step 1000, 4 replicates, 20 % a level: notebooks of github.com/mansheej/lth_diet, by
# authors of the paper. Test error in percent at levels 0 to 15; error in percent halfway between levels L and L + 1,
# read from their figure by eye, for L = 10 to 14 (up to there it is that of the ends).
PUBLISHED = {
    "error": (8.35, 8.23, 8.18, 8.10, 8.16, 8.13, 8.15, 8.23, 8.34, 8.54, 8.96, 9.63, 10.14, 11.69, 12.94, 14.28),
    "midway": {10: 13, 11: 14.5, 12: 30, 13: 43, 14: 57},
}

INPUTS = {  # shape of an input, classes, training examples
    "mnist1d": ((40,), 10, 4000),
    "fashion_mnist": ((1, 28, 28), 10, 60000),
    "cifar10": ((3, 32, 32), 10, 50000),
    "cifar100": ((3, 32, 32), 100, 50000),
    "imagenet": ((3, 224, 224), 1000, 1281167),
}

HALF_A_POINT = 0.005
LIMITS = {  # errors up to which a network matches, from a record of winning tickets: scalar or (K, R)
    "mean dense error + ε": findings.largest_error,
    "own dense error + ε": lambda tickets: tickets["error"][0] + findings.tolerance(tickets),
    "own dense error + half a point": lambda tickets: tickets["error"][0] + HALF_A_POINT,
}
LARGER = {"levels": 15, "replicates": 3}  # what we assume of runs beyond the presets, besides one rewind step


def scales(preset="book"):
    """The presets to compare: ``smoke`` by itself, otherwise the given one and all whose records are published."""
    if preset == "smoke":
        return [preset]

    def recorded(name):
        return all((records.PUBLISHED / name / f"{needed}.safetensors").exists() for needed in NEEDED)

    return [name for name in PRESETS if name != "smoke" and (name == preset or recorded(name))]


def settings(names) -> Text:
    """What each scale is: network, data, schedule, replicates, dense error."""
    rows = []
    for name in names:
        preset, tickets = PRESETS[name], experiments.winning_tickets(name)
        config, work = preset.main.config, Work.of(name)
        rows.append([
            f"**{name}**", f"{preset.main.network}, {work.weights:,} weights", preset.dataset,
            f"{config.recipe.steps:,} × {config.recipe.batch_size}", f"{config.replicates}",
            ", ".join(map(str, config.rewind_step)), findings.percent(tickets["error"][0, 0]),
            findings.points(findings.tolerance(tickets), 2),
        ])  # fmt: skip
    header = ["preset", "network", "data", "steps × batch", "replicates", "rewind steps", "dense error", "ε"]
    return table(header, rows)


def verdicts(names) -> Text:
    """The claims of chapters 1 and 2, one column for each scale: value and verdict."""
    columns = []
    for name in names:
        record = {needed: getattr(experiments, needed)(name) for needed in NEEDED}
        tickets, barriers = record["winning_tickets"], record["successive_barriers"]
        columns.append([
            *findings.tickets_and_stability(tickets, record["instability"]),
            *findings.connected_and_matching(tickets, barriers),
            findings.distant_levels(tickets, barriers, record["all_pairs"]),
        ])  # fmt: skip
    rows = [
        [column[0].claim, *(f"{v.value}: **{v.verdict}**" for v in column)] for column in zip(*columns, strict=True)
    ]
    return table(["claim", *names], rows)


def matching_share(tickets, limit):
    """Share of the pruned networks, of all levels and replicates, up to one of ``LIMITS``, by rewind step: (K,)."""
    return (tickets["error"][1:] <= limit(tickets)).double().mean((0, 2))


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
    large = training.Recipe(steps=90 * (INPUTS["imagenet"][2] // 1024), batch_size=1024)
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


def costs(work, speeds) -> Text:
    """Steps and operations of each run in ``work`` (by name), and hours at the speeds measured here (by name).

    A run without a measured speed gets the hours at the rate of operations of the last one that has one.
    """
    rows, rate = [], None
    for name, run in work.items():
        rate = speeds[name] * run.step_operations if name in speeds else rate
        rows.append([
            name, f"{run.weights:,}", _short(run.step_operations / 1e9), f"{run.steps:,}", _power(run.operations),
            _duration(run.operations / rate) + ("" if name in speeds else " (extrapolated)"),
        ])  # fmt: skip
    header = ["run", "weights", "10⁹ operations a step", "steps, all replicates", "operations", "time on this machine"]
    return table(header, rows)


def _short(value):
    return f"{value:,.0f}" if value >= 10 else f"{value:.2g}"


def _power(value):
    """Two digits and a power of ten, for numbers from one on."""
    mantissa, exponent = f"{value:.1e}".split("e")
    return f"{mantissa}\u00a0·\u00a010{str(int(exponent)).translate(str.maketrans('0123456789', '⁰¹²³⁴⁵⁶⁷⁸⁹'))}"


def _duration(seconds):
    for unit, length in (("years", 365 * 86400), ("days", 86400), ("hours", 3600), ("minutes", 60)):
        if seconds >= 2 * length:
            return f"{seconds / length:,.0f} {unit}"
    return f"{seconds:.0f} seconds"


def numbers() -> dict:
    """The numbers that the prose can quote, by name: those of the preset ``book``, and those of each scale."""
    named = findings.numbers()
    for name in scales():
        named |= {f"{name} {what}": text for what, text in {**_numbers(name), **_size(name)}.items()}
    return named | {f"larger {what}": str(count) for what, count in LARGER.items()}


def _numbers(name):
    """What the records of one scale say."""
    tickets, unstable = experiments.winning_tickets(name), experiments.instability(name)
    own = tickets["error"] - tickets["error"][0]
    named = {"replicates": str(own.shape[-1]), "epsilon": findings.points(findings.tolerance(tickets), 2)}
    for i, (k, reach) in enumerate(zip(tickets["rewind_step"].tolist(), findings.reach(tickets), strict=True)):
        named[f"matching k={k}"] = reach
        named[f"own k={k}"] = findings.points(own[4, i])
        for called, limit in LIMITS.items():
            named[f"{called} k={k}"] = findings.percent(matching_share(tickets, limit)[i], 0)
    named["minutes"] = f"{tickets.about['seconds'] / 60:.0f}"
    refill = experiments.refilling(name)
    for i, k in enumerate(refill["rewind_step"].tolist()):
        named[f"new small k={k}"] = findings.percent(findings.new_small(refill)[:, i].mean(0), 0)
        named[f"already k={k}"] = findings.percent(refill["already"][:, i].mean(0), 0)
    for k, height in zip(unstable["rewind_step"].tolist(), unstable["height"], strict=True):
        named[f"instability k={k}"] = findings.points(height)
    first = findings.tickets.first_stable(unstable)
    if first is not None:
        share = int(unstable["rewind_step"][first]) / PRESETS[name].main.config.recipe.steps
        named["stable from"] = findings.percent(share)
    return named | pairs(tickets, experiments.successive_barriers(name), PRESETS[name].pair_points)


def pairs(tickets, barriers, few) -> dict:
    """How high the barriers of successive levels are and how many pairs are connected, as texts by name.

    ``height`` is the barrier with interpolated BatchNorm statistics, ``recalibrated`` that with statistics measured
    anew at ``few`` points, ``thinned`` the first one at as many; ``if`` counts the matching pairs that are connected,
    ``others`` the connected ones of the rest.
    """
    named, curve = {}, barriers["curve"]
    chosen = torch.linspace(0, curve.shape[1] - 1, few).round().long()
    gamma = chosen[:, None, None].double() / (curve.shape[1] - 1)
    thinned = (curve[:, chosen] - torch.lerp(curve[:, :1], curve[:, -1:], gamma)).amax(1)
    kinds = {"height": barriers["height"], "recalibrated": barriers["recalibrated"], "thinned": thinned}
    for i, k in enumerate(barriers["rewind_step"].tolist()):
        error = tickets["error"][:, i : i + 1]
        for kind, barrier in kinds.items():
            barrier = barrier[:, i : i + 1]
            named[f"{kind} k={k}"] = findings.points(barrier[:-1, 0].mean(0))
            named[f"last {kind} k={k}"] = findings.points(barrier[-1, 0])
            count = findings.contingency({"error": error}, barrier)
            named[f"{kind} if k={k}"] = _of(count.both, count.only_matching)
            named[f"{kind} others k={k}"] = _of(count.only_connected, count.neither)
            named[f"{kind} connected k={k}"] = f"{count.both + count.only_connected} of {sum(count)}"
        named[f"highest k={k}"] = findings.percent(barriers["curve"][:, :, i].amax(1).mean(0), 0)
        height = barriers["height"][:, i]
        first = findings.contingency({"error": error[:2]}, height[:1, None])
        named[f"first if k={k}"] = _of(first.both, first.only_matching)
        named[f"first k={k}"] = f"{100 * height[0].min():.1f} to {findings.points(height[0].max())}"
    for where, epsilon in (("", None), (" at half a point", HALF_A_POINT)):
        count = findings.contingency(tickets, barriers["height"], epsilon, sparse=True)
        named[f"sparse if{where}"] = _of(count.both, count.only_matching)
        named[f"sparse only if{where}"] = _of(count.both, count.only_connected)
    return named


def _of(some, others):
    return f"{some} of {some + others}"


def _size(name):
    """How large one scale is: network, data, and the operations of a step as a multiple of the testbed's."""
    work, (shape, _, examples) = Work.of(name), INPUTS[PRESETS[name].dataset]
    factor = work.step_operations / Work.of("book").step_operations
    return {
        "weights": f"{work.weights:,}", "inputs": f"{math.prod(shape):,}", "examples": f"{examples:,}",
        "step factor": f"{factor:.0f}",
    }  # fmt: skip
