"""Training: a function (state, momentum, t) -> (state, momentum, t + 1), for every replicate at once.

The batch at step t and the learning rate at step t depend on nothing but the order seed, the recipe and t. So a run
resumes from its state, its momentum and t alone, and two runs with the same order seed see the same data in the same
order, wherever they start.
"""

import gc
import math
from dataclasses import dataclass
from typing import NamedTuple

import torch

from . import checks, memory, progress, pruning, sgd, store
from .states import replicates

SCHEDULES = ("cosine", "constant", "step")  # of the learning rate
PRECISIONS = ("float32", "bfloat16")  # of the products in a training step


@dataclass(frozen=True)
class Recipe:
    """Hyperparameters of SGD: ``steps`` of ``batch_size`` examples, peak rate ``lr``, ``momentum``, ``weight_decay``.

    ``schedule``: ``"cosine"`` (to 0 at ``steps``), ``"constant"``, or ``"step"`` (times ``drop`` at each step in
    ``drops``); before it, ``warmup`` steps of linear increase. Weight decay applies to every parameter. ``nesterov``
    as in ``torch.optim.SGD``. ``precision="bfloat16"`` computes a step's products in bfloat16 (autocast); weights,
    momentum, statistics and every evaluation stay in float32. The preset ``paper`` has its values, for ResNet-20
    on CIFAR-10, from github.com/mansheej/lth_diet, by authors of the paper; the precision there is ours.
    Raises ``ValueError`` for a value out of bounds.
    """

    steps: int
    batch_size: int = 128
    lr: float = 0.1
    schedule: str = "cosine"
    momentum: float = 0.9
    weight_decay: float = 0.0
    warmup: int = 0
    drops: tuple = ()
    drop: float = 0.1
    nesterov: bool = False
    precision: str = "float32"

    def __post_init__(self):
        checks.whole("steps", self.steps, 1)
        checks.whole("batch_size", self.batch_size, 1)
        checks.within("lr", self.lr, 0, open_low=True)
        checks.choice("schedule", self.schedule, SCHEDULES)
        checks.within("momentum", self.momentum, 0, 1, open_high=True)
        checks.within("weight_decay", self.weight_decay, 0)
        checks.whole("warmup", self.warmup, 0, self.steps)
        checks.choice("precision", self.precision, PRECISIONS)

    def lr_at(self, step) -> float:
        """Learning rate of the update from ``step`` to ``step + 1``."""
        if step < self.warmup:
            return self.lr * (step + 1) / self.warmup
        if self.schedule == "cosine":
            return self.lr * 0.5 * (1 + math.cos(math.pi * step / self.steps))
        return self.lr * self.drop ** sum(step >= drop for drop in self.drops)


class Point(NamedTuple):
    """A moment of training: ``step`` updates are done, and resuming needs ``state`` and ``momentum``, nothing else."""

    step: int
    state: dict
    momentum: dict


class Diverged(ArithmeticError):
    """The loss of some replicates became NaN or infinite.

    ``steps`` maps each such replicate to the step at which it did; ``state`` holds every replicate at the end of the
    training: those not in ``steps`` are sound.
    """

    def __init__(self, steps, state, lr, where=""):
        self.steps, self.state = steps, state
        where = where or ", ".join(f"replicate {r} at step {step}" for r, step in steps.items())
        super().__init__(
            f"the loss became NaN or infinite in {where}. The other replicates were trained to the end and are "
            f"kept. Lower lr (it is {lr}) or lengthen warmup"
        )


def train(net, state, ds, recipe, mask=None, start=0, stop=None, order_seed=1, checkpoint=None):
    """Train every replicate of ``state`` from step ``start`` to step ``stop`` (default: ``recipe.steps``).

    ``start`` and ``order_seed`` are one number or one for each replicate; a single ``order_seed`` s gives replicate r
    the data order of seed s + r. Momentum starts at zero. Weights outside ``mask`` are exactly zero throughout; without
    a mask all weights train.
    ``checkpoint`` names a file from which the same call carries on after an interruption.
    Returns the final state, and leaves the given one as it is. Raises ``Diverged``, and ``ValueError`` if the memory
    does not suffice, with the number of replicates that fit.
    """
    last = recipe.steps if stop is None else stop
    total = sum(last - first for first in _each("start", start, replicates(state)))
    with progress.bar(total=total, desc="training", unit="step") as bar:
        for point in trajectory(net, state, ds, recipe, mask, start, stop, order_seed, checkpoint=checkpoint, bar=bar):
            state = point.state
    return state


def trajectory(
    net, state, ds, recipe, mask=None, start=0, stop=None, order_seed=1, at=(), checkpoint=None, bar=None
):  # fmt: skip
    """Train as ``train`` does, and yield a ``Point`` (of copies) at every step in ``at`` and at ``stop``.

    Replicates with a later ``start`` wait for it, so that all share the step counter and the learning rate. Points
    before the step that ``checkpoint`` has reached are not yielded again. ``bar`` is a progress bar that counts every
    replicate's steps. Raises as ``train`` does, ``Diverged`` after the last point.
    """
    try:
        yield from _trajectory(net, state, ds, recipe, mask, start, stop, order_seed, at, checkpoint, bar)
        return
    except torch.cuda.OutOfMemoryError:
        pass  # left at once, because its traceback holds on to what was allocated
    gc.collect()
    count, fit = replicates(state), memory.fitting(net, ds, recipe)
    raise ValueError(
        f"the memory of {ds.device} does not suffice for {count} replicates; {min(count - 1, fit)} may fit"
    )


def _trajectory(net, state, ds, recipe, mask, start, stop, order_seed, at, checkpoint, bar):
    count = replicates(state)
    stop = checks.whole("stop", recipe.steps if stop is None else stop, 0, recipe.steps)
    starts = [checks.whole("start", s, 0, stop) for s in _each("start", start, count)]
    seeds = [order_seed + r for r in range(count)] if not hasattr(order_seed, "__len__") else order_seed
    seeds = _each("order_seed", seeds, count)
    checks.within("batch_size", recipe.batch_size, 1, len(ds.train_y))
    mask = pruning.full(net, state) if mask is None else mask
    state = {name: tensor.clone() for name, tensor in pruning.apply(state, mask).items()}
    momentum = {name: torch.zeros_like(state[name]) for name in net.parameters}
    failed = torch.full((count,), -1, device=ds.device)
    first = now = min(starts)
    file = _Checkpoint(checkpoint, net, state, mask, ds, recipe, starts, seeds, stop)
    if saved := file.load():
        now, state, momentum, failed = saved
        if bar is not None:
            bar.update(sum(max(0, now - s) for s in starts))

    def point():
        return Point(now, {n: t.clone() for n, t in state.items()}, {n: t.clone() for n, t in momentum.items()})

    if now in at or now == stop:
        yield point()
    groups = []
    tenths = range(first, stop, max(1, (stop - first) // 10)) if checkpoint else ()
    for end in sorted({stop, *(t for t in (*starts, *at, *tenths) if now < t < stop)} - {now}):
        active = [r for r in range(count) if starts[r] <= now]
        wanted = _stacks(active, ds.device) if net.stacked else active
        groups = [group for group in groups if group.rows in wanted]
        for rows in wanted:
            if rows not in [group.rows for group in groups]:
                groups.append(sgd.Group(net, state, momentum, mask, failed, ds, recipe, seeds, rows, now))
        sgd.advance(groups, now, end, bar)
        for group in groups:
            group.store(state, momentum, failed)
        now = end
        if now in at or now == stop:
            yield point()
        if now in tenths or now == stop:
            file.save(now, state, momentum, failed)
    lost = ~torch.stack([state[name].flatten(1).isfinite().all(1) for name in net.parameters]).all(0)
    failed = torch.where((failed < 0) & lost, stop - 1, failed)  # the last update's result never met a loss
    if (failed >= 0).any():
        raise Diverged({r: t for r, t in enumerate(failed.tolist()) if t >= 0}, state, recipe.lr)


def _stacks(rows, device):
    """The replicates that are stacked in one program: all on a GPU; on a CPU a part for each thread, of four at most.

    More of them, or several threads in one small product, take longer: what a step writes then leaves the cache.
    """
    if device.type == "cuda":
        return [rows]
    parts = max(-(-len(rows) // 4), min(len(rows), torch.get_num_threads()))
    return [rows[i * len(rows) // parts : (i + 1) * len(rows) // parts] for i in range(parts)]


class _Checkpoint:
    """The file in which one training keeps its step, state and momentum; without a path nothing is kept."""

    def __init__(self, path, net, state, mask, ds, recipe, starts, seeds, stop):
        self.path, self.device = path, ds.device
        if path:
            description = [net.description, ds.digest, recipe, starts, seeds, stop]
            self.key = store.key([*description, store.digest(state), store.digest(mask)])

    def load(self):
        found = self.path and store.read(self.path, self.key, self.device)
        if found:
            saved, about = found
            return about["step"], saved["state"], saved["momentum"], saved["failed"]

    def save(self, step, state, momentum, failed):
        if self.path:
            tree = {"state": state, "momentum": momentum, "failed": failed}
            store.write(self.path, tree, {"key": self.key, "step": step})


@torch.no_grad()
def evaluate(net, state, x, y):
    """Return the mean cross-entropy in nats and the error rate in [0, 1] of every replicate, each ``(R,)`` float64.

    ``x`` ``(N, ...)``, ``y`` ``(N,)``: ready-to-feed inputs and labels, for instance ``ds.test_x``, ``ds.test_y``.
    Where a loss is not finite the error is NaN: the largest of NaN logits would pass for a guess.
    """
    loss = wrong = 0
    chunk = 2500 if x.is_cuda else 1024 if net.stacked else 256  # on a CPU: what stays in the cache
    for xs, ys in zip(x.split(chunk), y.split(chunk), strict=True):
        logits = net(state, xs)
        loss = loss - logits.log_softmax(-1)[:, torch.arange(len(ys)), ys].double().sum(1)
        wrong = wrong + (logits.argmax(-1) != ys).double().sum(1)
    failed = ~loss.isfinite()  # argmax of NaN would pass for a guess
    return loss / len(y), torch.where(failed, torch.nan, wrong / len(y))


def _each(argument, value, count):
    """One value for every replicate, from one number or from a sequence of ``count``."""
    if not hasattr(value, "__len__"):
        return [value] * count
    values = value.tolist() if isinstance(value, torch.Tensor) else list(value)
    if len(values) != count:
        raise ValueError(f"{argument} has {len(values)} entries; it must be one number or {count}, one per replicate")
    return values
