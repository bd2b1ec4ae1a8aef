"""Training: a function (state, momentum, t) -> (state, momentum, t + 1), for every replicate at once.

Batch and learning rate at step t depend on nothing but the order seed, the recipe and t: so a run resumes from state,
momentum and t alone, and two with one order seed see the same data in the same order, wherever they start.
"""

import gc
import math
import time
from dataclasses import dataclass
from typing import NamedTuple

import torch

from . import checks, memory, progress, pruning, sgd, store
from .data import Dataset
from .networks import Network
from .states import check_form

SCHEDULES = ("cosine", "constant", "step")  # of the learning rate
PRECISIONS = ("float32", "bfloat16", "float16")  # of the products in a training step
EVERY = 20.0  # seconds of training between two checkpoints


@dataclass(frozen=True)
class Recipe:
    """Hyperparameters of SGD: ``steps`` of ``batch_size`` examples, peak rate ``lr``, ``momentum``, ``weight_decay``.

    ``schedule``: ``"cosine"`` (to 0 at ``steps``), ``"constant"``, or ``"step"`` (times ``drop`` at each step in
    ``drops``); before it, ``warmup`` steps of linear increase. Weight decay applies to every parameter. ``nesterov``
    as in ``torch.optim.SGD``. ``precision``: of a step's products, by autocast, ``"float16"`` with the loss scaled by
    ``sgd.SCALE``; weights, momentum, statistics and evaluations stay as they are. Raises ``ValueError`` for a value out
    of bounds, or without effect: ``drops`` under another schedule, ``nesterov`` without momentum.
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
        checks.within("lr", self.lr, 0, math.inf, open_low=True, open_high=True)
        checks.choice("schedule", self.schedule, SCHEDULES)
        checks.within("momentum", self.momentum, 0, 1, open_high=True)
        checks.within("weight_decay", self.weight_decay, 0, math.inf, open_high=True)
        checks.whole("warmup", self.warmup, 0, self.steps)
        drops = checks.kind("drops", self.drops, list, tuple)
        object.__setattr__(self, "drops", tuple(checks.whole("drops", step, 0) for step in drops))
        checks.choice("nesterov", self.nesterov, (False, True))
        checks.within("drop", self.drop, 0, 1, open_low=True)
        checks.choice("precision", self.precision, PRECISIONS)
        for name in ("lr", "momentum", "weight_decay", "drop"):  # 1 and 1.0 are one recipe, with one key
            object.__setattr__(self, name, float(getattr(self, name)))
        if self.drops and self.schedule != "step":
            raise ValueError(f"drops are {self.drops}; they need the schedule 'step', and it is {self.schedule!r}")
        if self.nesterov and not self.momentum:
            raise ValueError("nesterov is True; it needs momentum above 0, and that is 0")

    def lr_at(self, step) -> float:
        """Learning rate of the update from ``step`` to ``step + 1``."""
        if step < self.warmup:
            return self.lr * (step + 1) / self.warmup
        if self.schedule == "cosine":
            share = (step - self.warmup) / max(1, self.steps - self.warmup)
            return self.lr * 0.5 * (1 + math.cos(math.pi * share))
        return self.lr * self.drop ** sum(step >= drop for drop in self.drops)


class Point(NamedTuple):
    """A moment of training: ``step`` updates are done; resuming needs ``state`` and ``momentum``, nothing else."""

    step: int
    state: dict
    momentum: dict


class Diverged(ArithmeticError):
    """The loss of replicates became NaN or infinite: ``steps`` says when; ``state`` holds all, the others sound."""

    def __init__(self, steps, state, lr, where=""):
        self.steps, self.state = steps, state
        where = where or ", ".join(f"replicate {r} at step {step}" for r, step in steps.items())
        found = f"the loss became NaN or infinite in {where}. The other replicates were trained to the end and are kept"
        super().__init__(f"{found}. Lower lr (it is {lr}) or lengthen warmup")


def check(net, ds, recipe) -> None:
    """Raise ``ValueError`` unless these are a ``Network``, a ``Dataset`` and a ``Recipe``."""
    for name, value, kind in (("net", net, Network), ("ds", ds, Dataset), ("recipe", recipe, Recipe)):
        checks.kind(name, value, kind)


def train(net, state, ds, recipe, mask=None, start=0, stop=None, order_seed=1, checkpoint=None):
    """Train every replicate of ``state`` from step ``start`` to ``stop`` (``None``: the last); return the final state.

    ``start`` and ``order_seed`` are one number or one for each replicate; a single ``order_seed`` s gives replicate r
    the data order of seed s + r. Momentum starts at zero. Weights outside ``mask`` are exactly zero throughout; without
    a mask all weights train. ``checkpoint`` names a folder from which the same call carries on after an interruption.
    Raises ``Diverged``, and ``ValueError`` for arguments, a folder or a memory that do not fit.
    """
    check(net, ds, recipe)
    last = checks.whole("stop", recipe.steps if stop is None else stop, 0, recipe.steps)
    total = sum(last - checks.whole("start", s, 0, last) for s in _each("start", start, net.check(state)))
    with progress.bar(total=total, desc="training", unit="step") as bar:
        for point in trajectory(net, state, ds, recipe, mask, start, stop, order_seed, checkpoint=checkpoint, bar=bar):
            state = point.state
    return state


def trajectory(net, state, ds, recipe, mask=None, start=0, stop=None, order_seed=1, at=(), checkpoint=None, bar=None,
               kept=None):  # fmt: skip
    """Train as ``train`` does, and yield a ``Point`` (of copies) at every step in ``at`` and at ``stop``.

    Replicates with a later ``start`` wait for it, so that all share the step counter and the learning rate. Points
    before the step that ``checkpoint`` has reached are not yielded again. ``bar`` is a progress bar that counts every
    replicate's steps. ``kept``: a dict, in which the groups of one call wait for the next, of the same network, dataset
    and recipe: on CUDA with graphs and memory. Raises as ``train`` does, ``Diverged`` after the last point.
    """
    check(net, ds, recipe)
    count = net.check(state, mask, ds.test_x, ds.test_y)
    stop = checks.whole("stop", recipe.steps if stop is None else stop, 0, recipe.steps)
    starts = [checks.whole("start", s, 0, stop) for s in _each("start", start, count)]
    at = [checks.whole("at", step, min(starts), stop) for step in at]
    seeds = [checks.whole("order_seed", seed, 0) for seed in _each("order_seed", order_seed, count)]
    seeds = seeds if hasattr(order_seed, "__len__") else [seed + r for r, seed in enumerate(seeds)]
    checks.whole("batch_size", recipe.batch_size, 1, len(ds.train_y))
    mask = pruning.full(net, state) if mask is None else mask
    state = {name: tensor.clone() for name, tensor in pruning.apply(state, mask).items()}
    momentum = {name: torch.zeros_like(state[name]) for name in net.parameters}
    failed = torch.full((count,), -1, device=ds.device)
    now = min(starts)
    settings = {"recipe": recipe, "starts": starts, "seeds": seeds, "stop": stop}
    if checkpoint:
        settings |= {"state": store.digest(state), "mask": store.digest(mask)}
        settings |= {"network": net.identity(ds.test_x), "data": ds.digest}
    files = store.Folder(checkpoint, settings, ds.device).open()

    def resumed(tree, about):
        """State, momentum, failures and step of a file, if it has the form of this training."""
        own = {"state": state, "momentum": momentum}
        found = [check_form(name, tree[name], like, count) for name, like in own.items()]
        lost = check_form("failures", {"failed": tree["failed"]}, {"failed": failed}, count)
        return *found, lost["failed"], checks.whole("step", about["step"], now, stop)

    if saved := files.load("training", resumed):
        state, momentum, failed, now = saved
        if bar is not None:
            bar.update(sum(max(0, now - s) for s in starts))
    stacked = net.stacks(ds.test_x, recipe.precision)
    training = sgd.Training(net, ds, recipe, stacked, mask, seeds, state, momentum, failed)
    kept, groups, due = {} if kept is None else kept, [], time.monotonic() + EVERY if checkpoint else math.inf
    try:
        while True:
            if now in at or now == stop:
                yield Point(now, *({name: t.clone() for name, t in tree.items()} for tree in (state, momentum)))
            if now == stop or time.monotonic() >= due:
                files.save("training", {"state": state, "momentum": momentum, "failed": failed}, step=now)
                due = time.monotonic() + EVERY
            if now == stop:
                break
            groups = sgd.groups_of(training, [r for r in range(count) if starts[r] <= now], now, kept)
            now = sgd.advance(groups, now, min(t for t in (*starts, *at, stop) if t > now), bar, due)
            for group in groups:
                group.store()
    except torch.cuda.OutOfMemoryError:
        groups = group = None  # what they hold goes, and with the traceback, left here, what failed to join them
        kept.clear()
    if groups is None:
        gc.collect()
        fit = min(count - 1, memory.fitting(net, ds, recipe))
        raise ValueError(f"the memory of {ds.device} does not suffice for {count} replicates; {fit} may fit")
    lost = ~torch.stack([state[name].reshape(count, -1).isfinite().all(1) for name in net.parameters]).all(0)
    failed = torch.where((failed < 0) & lost, stop - 1, failed)  # the last update's result never met a loss
    if (failed >= 0).any():
        raise Diverged({r: t for r, t in enumerate(failed.tolist()) if t >= 0}, state, recipe.lr)


@torch.no_grad()
def evaluate(net, state, x, y):
    """Return the mean cross-entropy in nats and the error rate in [0, 1] of every replicate, each ``(R,)`` float64.

    ``x`` ``(N, ...)``, ``y`` ``(N,)``: ready-to-feed inputs and labels, as ``ds.test_x``, ``ds.test_y``. Where a loss
    is not finite the error is NaN, not what NaN logits guess. Raises ``ValueError`` as ``Network.check`` does.
    """
    checks.kind("net", net, Network).check(state, x=checks.kind("x", x, torch.Tensor), y=y)
    loss = wrong = 0
    chunk = 2500 if x.is_cuda else 1024 if net.stacked else 256  # on a CPU: what stays in the cache
    for xs, ys in zip(x.split(chunk), y.split(chunk), strict=True):
        logits = net(state, xs)
        loss = loss - logits.log_softmax(-1)[:, torch.arange(len(ys)), ys].double().sum(1)
        wrong = wrong + (logits.argmax(-1) != ys).double().sum(1)
    loss, error = loss / len(y), wrong / len(y)
    return loss.cpu(), torch.where(loss.isfinite(), error, torch.nan).cpu()


def _each(argument, value, count):
    """One value for every replicate, from one number or from a sequence of ``count``."""
    if isinstance(value, str) or not hasattr(value, "__len__"):
        return [value] * count
    if len(value) != count:
        raise ValueError(f"{argument} has {len(value)} entries; it must be one number or {count}, one per replicate")
    return value.tolist() if isinstance(value, torch.Tensor) else list(value)
