"""SGD: one step of a group of replicates, which reads and writes fixed memory only.

On a CPU the step is called, and groups run in threads beside each other. On CUDA the step is captured once in a graph
and replayed, each group on a stream of its own: between two steps the host waits for nothing.
"""

import contextlib
import copy
import gc
import math
import threading
import time
from typing import NamedTuple

import torch
from torch.func import functional_call
from torch.nn import functional as F

from . import trial
from .networks import exact
from .order import SPAN, epoch_order, steps_per_epoch
from .threads import beside

SCALE = {"float16": 256.0}  # of the loss, for the sake of gradients too small for the type; the update takes it back


class Training(NamedTuple):
    """Replicates in training: what the steps need, and what they change."""

    net: object
    ds: object
    recipe: object
    stacked: bool
    mask: dict
    seeds: list  # of the data order, one for each replicate
    state: dict
    momentum: dict  # of the trained entries
    failed: torch.Tensor  # int64 (R,): the step at which a replicate's loss ceased to be finite, -1 while it is


class Group:
    """The replicates ``rows`` of a training, at ``step``, in memory of their own: one, where it is not stacked."""

    def __init__(self, training, rows, step):
        net, ds, recipe = self.net, self.ds, self.recipe = training[:3]
        self.rows, self.cuda, self.last = rows, ds.device.type == "cuda", _channels_last(training)
        self.state, self.momentum = self._own(training, training.state), self._own(training, training.momentum)
        self.keep = [torch.ones_like(self.state[name]) for name in net.parameters]  # the mask by 1 / scale
        self.scale = SCALE.get(recipe.precision, 1)
        self.counters = {t.data_ptr() for name, t in self.state.items() if name.endswith("num_batches_tracked")}
        self.leaves = {name: self.state[name].detach() for name in net.parameters}  # the same memory, but of halves
        self.halves = {}  # weights that are cast once a step, with room for their gradients as the update takes them
        for name in net.prunable if recipe.precision != "float32" else ():
            if self.state[name].dtype == torch.float32:
                self.leaves[name] = self.state[name].to(getattr(torch, recipe.precision))
                self.halves[name] = torch.empty_like(self.state[name])
        for leaf in self.leaves.values():
            leaf.requires_grad_()
        self.span, first = min(steps_per_epoch(ds, recipe), SPAN.get(ds.device.type, math.inf)), self.keep[0]
        self.losses, self.failed = first.new_zeros(self.span, len(rows)), training.failed[rows]
        self.row, self.tables = first.new_zeros(1, dtype=torch.long), None
        half = next((self.leaves[name].dtype for name in self.halves), first.dtype)
        self.logits = _logits(net, training.stacked, half if training.stacked else first.dtype, self.last)
        self.stream = torch.cuda.Stream(ds.device) if self.cuda else None
        self.take(training)
        if self.cuda:
            self._capture(step)
            self.take(training)

    def _own(self, training, tree):
        """Copies of this group's rows; weights of convolutions as channels last, if that is faster."""
        own = {name: tensor[self.rows].contiguous() for name, tensor in tree.items()}
        for name, tensor in own.items() if self.last and (self.cuda or not training.stacked) else ():
            if tensor.dim() == 5:
                laid = tensor.flatten(0, 1).contiguous(memory_format=torch.channels_last)
                own[name] = laid.unflatten(0, tensor.shape[:2])
        return own

    def on(self):
        """The context of the group's stream."""
        return torch.cuda.stream(self.stream) if self.cuda else contextlib.nullcontext()

    def take(self, training):
        """Begin with a training as it stands, in the memory that is here, by which a graph goes."""
        self.training, self.epoch = training, None
        if self.cuda:
            self.stream.wait_stream(torch.cuda.current_stream(self.ds.device))
        with self.on():
            for own, whole in ((self.state, training.state), (self.momentum, training.momentum)):
                for name, tensor in own.items():
                    tensor.copy_(whole[name][self.rows])
            for name, keep in zip(self.net.parameters, self.keep, strict=True):
                keep.fill_(1 / self.scale)
                if name in training.mask:
                    keep.mul_(training.mask[name][self.rows])
            self.failed.copy_(training.failed[self.rows])

    def load(self, begin, count):
        """Put rates and order, on CUDA whole batches, of ``count`` steps where the step reads them."""
        self.begin, (epoch, first) = begin, divmod(begin, steps_per_epoch(self.ds, self.recipe))
        if epoch != self.epoch:
            each = [epoch_order(self.ds, self.recipe, self.training.seeds[r], epoch) for r in self.rows]
            self.epoch, self.drawn = epoch, [torch.stack(tables, 1) for tables in zip(*each, strict=True)]
        precision = torch.float32 if self.cuda else torch.float64  # what the fused update takes
        rates = torch.tensor([self.recipe.lr_at(t) for t in range(begin, begin + count)], dtype=precision)
        tables = [rates, *(table[first : first + count] for table in self.drawn)]
        if self.cuda:  # pinned, so that the host need not wait
            rates, *tables = (table.pin_memory().to(self.ds.device, non_blocking=True) for table in tables)
            x, y = self.ds.gather(*tables)
            tables = rates, x.movedim((1, 3), (4, 5)) if self.last and x.dim() == 6 else x, y
        if self.tables is None:
            self.tables = [self.row.new_zeros(self.span, *t.shape[1:], dtype=t.dtype) for t in tables]
        for kept, new in zip(self.tables, tables, strict=True):
            kept[:count].copy_(new)
        self.row.zero_()

    def _batch(self):
        """Rate, inputs ``(R, B, ...)`` and labels ``(R, B)`` of the next step of those that ``load`` put there."""
        rate, *drawn = (table.index_select(0, self.row) for table in self.tables)
        drawn = [table.squeeze(0) for table in drawn]
        x, y = drawn if self.cuda else self.ds.gather(*drawn)
        return rate, x.movedim((3, 4), (0, 2)) if self.cuda and self.last and x.dim() == 5 else x, y

    def update(self):
        """One step of SGD for every replicate of the group; the loss of each is the mean over its batch."""
        rate, x, y = self._batch()
        if self.halves:
            with torch.no_grad():
                torch._foreach_copy_([self.leaves[n] for n in self.halves], [self.state[n] for n in self.halves])
        with torch.enable_grad():
            with trial.autocast(x.device, self.recipe.precision), trial.fewer(x.device, self.counters):
                logits = self.logits({**self.state, **self.leaves}, x)
            logits = logits if self.recipe.precision == "float32" else logits.float()
            losses = F.cross_entropy(logits.flatten(0, -2), y.flatten(), reduction="none").view(y.shape).mean(-1)
            scale, leaves = torch.full_like(losses, self.scale), list(self.leaves.values())
            gradients = torch.autograd.grad(losses, leaves, scale, materialize_grads=True)
        torch._fused_sgd_(
            [self.state[name] for name in self.leaves], self._masked(gradients),
            [self.momentum[name] for name in self.leaves] if self.recipe.momentum else [],
            lr=rate, momentum=self.recipe.momentum, dampening=0.0, nesterov=self.recipe.nesterov,
            weight_decay=self.recipe.weight_decay, maximize=False, is_first_step=False,
        )  # fmt: skip
        self.losses.index_copy_(0, self.row, losses.detach().to(self.losses.dtype)[None])
        self.row += 1

    def _masked(self, gradients):
        """Gradients as the update takes them: without the scale of the loss, of the weights' type and strides."""
        laid = {n: _laid(g, leaf) for (n, leaf), g in zip(self.leaves.items(), gradients, strict=True)}
        if self.halves:
            torch._foreach_copy_(list(self.halves.values()), [laid[name] for name in self.halves])
        return torch._foreach_mul(self.keep, [*(laid | self.halves).values()])

    def watch(self, count):
        """Note at which of the ``count`` steps since ``load`` a loss ceased to be finite."""
        bad = ~self.losses[:count].isfinite()
        first = torch.where(bad.any(0), self.begin + bad.int().argmax(0), -1)
        self.failed.copy_(torch.where(self.failed < 0, first, self.failed))

    def _capture(self, step):
        """Capture ``update`` in a CUDA graph; what it changes is for ``take`` to restore."""
        with self.on(), exact():
            for _ in range(3):  # libraries choose their kernels and allocate before a capture
                self.load(step, 1)
                self.update()
        self.graph, collecting = torch.cuda.CUDAGraph(), gc.isenabled()
        gc.collect()
        gc.disable()  # an older graph that is freed during a capture would spoil this one
        try:
            with torch.cuda.device(self.ds.device), torch.cuda.graph(self.graph, stream=self.stream), exact():
                self.update()
        finally:
            if collecting:
                gc.enable()

    def store(self):
        """Write the group's replicates back to the training."""
        if self.cuda:
            reader = torch.cuda.current_stream(self.ds.device)
            reader.wait_stream(self.stream)
        for whole, part in ((self.training.state, self.state), (self.training.momentum, self.momentum)):
            for name in part:
                whole[name][self.rows] = part[name]
        self.training.failed[self.rows] = self.failed
        if self.cuda:
            self.stream.wait_stream(reader)  # the next replay writes what is read here


def _logits(net, stacked, dtype, last):
    """The function of a state and inputs that a step differentiates. It must not hold its group: no cycle may."""
    module = copy.deepcopy(net.module).train()  # its own, because a thread swaps tensors in it

    def one(state, x):
        return functional_call(module, state, (net.taken(x, dtype, last),))

    def alone(state, x):
        return one({name: tensor.squeeze(0) for name, tensor in state.items()}, x.squeeze(0)).unsqueeze(0)

    return torch.vmap(one) if stacked else alone


def _laid(gradient, leaf):
    """The gradient with the strides of its leaf: lists of unlike strides, or types, would be computed one by one."""
    one = [size == 1 or a == b for size, a, b in zip(leaf.shape, gradient.stride(), leaf.stride(), strict=True)]
    return gradient.as_strided(leaf.shape, leaf.stride()) if all(one) else torch.empty_like(leaf).copy_(gradient)


def groups_of(training, rows, now, kept):
    """The replicates ``rows`` in groups, as ``_parts`` cuts them; those in ``kept``, by their rows, take it up."""
    parts = _parts(training, rows)
    for part in map(tuple, parts):
        if part not in kept:
            kept[part] = Group(training, list(part), now)
        elif kept[part].training is not training:
            kept[part].take(training)
    return [kept[tuple(part)] for part in parts]


def _parts(training, rows):
    """What is stacked in one program: on a GPU all replicates; on a CPU at most four, and two parts at least.

    More of them would leave the cache. The cut does not depend on the number of threads, and so neither do the bits.
    """
    if not training.stacked:
        return [[r] for r in rows]
    if training.ds.device.type == "cuda":
        return [rows]
    parts = max(-(-len(rows) // 4), min(len(rows), 2))
    return [rows[i * len(rows) // parts : (i + 1) * len(rows) // parts] for i in range(parts)]


def _channels_last(training):
    """Whether images are laid out so: on CUDA not in float32, in which cuDNN is six times slower that way."""
    return training.net.channels_last and (training.recipe.precision != "float32" or training.ds.device.type != "cuda")


def advance(groups, begin, end, bar=None, due=math.inf):
    """Step all groups from ``begin`` to ``end``, or to where it is time, ``due``; return the step reached."""
    cuda, per_epoch = groups[0].cuda, steps_per_epoch(groups[0].ds, groups[0].recipe)
    while True:
        stop = min(end, (begin // per_epoch + 1) * per_epoch, begin + groups[0].span)
        (_replay if cuda else _call)(groups, begin, stop - begin)
        if bar is not None:
            bar.update((stop - begin) * sum(len(group.rows) for group in groups))
        begin = stop
        if begin == end or time.monotonic() >= due:
            return begin


def _replay(groups, begin, steps):
    try:
        for group in groups:
            with group.on():
                group.load(begin, steps)
        for _ in range(steps):
            for group in groups:
                with group.on():
                    group.graph.replay()
        for group in groups:
            with group.on():
                group.watch(steps)
    except BaseException:  # an interrupt: the device must not go on with tensors that are about to be freed
        torch.cuda.synchronize()
        raise


def _call(groups, begin, steps):
    stop = threading.Event()  # an interrupt reaches the main thread only

    def walk(group):
        group.load(begin, steps)
        for _ in range(steps):
            if stop.is_set():
                return
            group.update()
        group.watch(steps)

    beside(walk, [(group,) for group in groups], groups[0].ds.device, stop)
