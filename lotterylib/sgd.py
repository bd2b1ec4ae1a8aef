"""SGD: one step of a group of replicates, which reads and writes fixed memory only.

On a CPU the step is called, and groups run in threads beside each other. On CUDA the step is captured once in a graph
and replayed, each group on a stream of its own: between two steps of an epoch the host waits for nothing.
"""

import copy
import threading
from dataclasses import dataclass

import torch
from torch.func import functional_call
from torch.nn import functional as F

from .networks import exact
from .order import epoch_order, steps_per_epoch
from .threads import beside


@dataclass
class Training:
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
    """The replicates ``rows`` of a training, from ``step`` on in memory of their own: one, where it is not stacked."""

    def __init__(self, training, rows, step):
        net, self.training, self.rows = training.net, training, rows
        ds, recipe = self.ds, self.recipe = training.ds, training.recipe
        self.channels_last = net.channels_last and not training.stacked
        self.state, self.momentum, mask = map(self._own, (training.state, training.momentum, training.mask))
        self.leaves = {name: self.state[name].detach().requires_grad_() for name in net.parameters}  # the same memory
        ones = {name: torch.ones_like(self.state[name]) for name in net.parameters}
        self.keep = [mask[name].to(one) if name in mask else one for name, one in ones.items()]
        self.failed = training.failed[rows].clone()
        module = copy.deepcopy(net.module).train()  # its own, because a thread swaps tensors in it
        kind = self.state[net.parameters[0]].dtype

        def logits(state, x):
            return functional_call(module, state, (net.taken(x, kind),))

        def alone(state, x):
            return logits({name: tensor.squeeze(0) for name, tensor in state.items()}, x.squeeze(0)).unsqueeze(0)

        self.logits = torch.vmap(logits) if training.stacked else alone
        self.step = torch.tensor([step], device=ds.device)
        precision = torch.float32 if ds.device.type == "cuda" else torch.float64  # what the fused update takes
        self.rates = torch.tensor([recipe.lr_at(t) for t in range(recipe.steps)], dtype=precision, device=ds.device)
        epoch = step // steps_per_epoch(ds, recipe)
        self.drawn = [table.to(ds.device) for table in self.order(epoch)]  # where the step reads the order
        if ds.device.type == "cuda":
            self._capture()

    def _own(self, tree):
        """Copies of this group's rows; one replicate's convolutions as channels last, if that is faster."""
        own = {name: tensor[self.rows].clone(memory_format=torch.contiguous_format) for name, tensor in tree.items()}
        for name, tensor in own.items():
            if self.channels_last and tensor.dim() == 5:
                own[name] = tensor.squeeze(0).contiguous(memory_format=torch.channels_last).unsqueeze(0)
        return own

    def order(self, epoch):
        """An epoch's order as ``epoch_order`` draws it, on the CPU, each table ``(R, steps, B)``."""
        each = [epoch_order(self.ds, self.recipe, self.training.seeds[r], epoch) for r in self.rows]
        return [torch.stack(tables) for tables in zip(*each, strict=True)]

    def load(self, order):
        """Put an epoch's order where the step reads it."""
        for table, drawn in zip(self.drawn, order, strict=True):
            table.copy_(drawn)

    def update(self):
        """One step of SGD for every replicate of the group; the loss of each is the mean over its batch."""
        row = self.step % self.drawn[0].shape[1]
        x, y = self.ds.gather(*(table.index_select(1, row).squeeze(1) for table in self.drawn))
        half = self.recipe.precision == "bfloat16"
        with torch.enable_grad():
            with torch.autocast(x.device.type, torch.bfloat16, enabled=half, cache_enabled=False):
                logits = self.logits({**self.state, **self.leaves}, x)
            logits = (logits.float() if half else logits).flatten(0, -2)
            losses = F.cross_entropy(logits, y.flatten(), reduction="none").view(y.shape).mean(-1)
            gradients = torch.autograd.grad(losses.sum(), list(self.leaves.values()), materialize_grads=True)
        gradients = torch._foreach_mul(self.keep, gradients)  # in keep's layout, the weights': the next line needs it
        torch._fused_sgd_(
            [self.state[name] for name in self.leaves], gradients,
            [self.momentum[name] for name in self.leaves] if self.recipe.momentum else [],
            lr=self.rates.index_select(0, self.step), momentum=self.recipe.momentum, dampening=0.0,
            nesterov=self.recipe.nesterov, weight_decay=self.recipe.weight_decay, maximize=False, is_first_step=False,
        )  # fmt: skip
        lost = (self.failed < 0) & ~losses.detach().isfinite()
        self.failed.copy_(torch.where(lost, self.step, self.failed))
        self.step += 1

    def _capture(self):
        """Capture ``update`` in a CUDA graph, on this group's stream; the group is then as it was."""
        device = self.step.device
        self.stream = torch.cuda.Stream(device)
        self.stream.wait_stream(torch.cuda.current_stream(device))
        fixed = [*self.state.values(), *self.momentum.values(), self.failed, self.step]
        with torch.cuda.stream(self.stream), exact():
            kept = [tensor.clone() for tensor in fixed]
            for _ in range(3):  # libraries choose their kernels and allocate before a capture
                self.update()
                for tensor, before in zip(fixed, kept, strict=True):
                    tensor.copy_(before)
        self.graph = torch.cuda.CUDAGraph()
        with torch.cuda.device(device), torch.cuda.graph(self.graph, stream=self.stream), exact():
            self.update()

    def store(self):
        """Write the group's replicates back to the training."""
        if self.step.is_cuda:
            reader = torch.cuda.current_stream(self.step.device)
            reader.wait_stream(self.stream)
        for whole, part in ((self.training.state, self.state), (self.training.momentum, self.momentum)):
            for name in part:
                whole[name][self.rows] = part[name]
        self.training.failed[self.rows] = self.failed
        if self.step.is_cuda:
            self.stream.wait_stream(reader)  # the next replay writes what is read here


def groups_of(training, rows, now, previous=()):
    """The replicates ``rows`` in groups, as ``_parts`` cuts them; of ``previous`` groups those are kept that remain."""
    kept = {tuple(group.rows): group for group in previous}
    return [kept.get(tuple(part)) or Group(training, part, now) for part in _parts(training, rows)]


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


def advance(groups, begin, end, bar=None):
    """Step all groups from ``begin`` to ``end``."""
    ds, recipe = groups[0].ds, groups[0].recipe
    per_epoch = steps_per_epoch(ds, recipe)
    while begin < end:
        stop = min(end, (begin // per_epoch + 1) * per_epoch)
        orders = [group.order(begin // per_epoch) for group in groups]  # drawn while the device is still at work
        (_replay if ds.device.type == "cuda" else _call)(groups, orders, stop - begin)
        if bar is not None:
            bar.update((stop - begin) * sum(len(group.rows) for group in groups))
        begin = stop


def _replay(groups, orders, steps):
    try:
        for group, order in zip(groups, orders, strict=True):
            with torch.cuda.stream(group.stream):
                group.load(order)
        for _ in range(steps):
            for group in groups:
                with torch.cuda.stream(group.stream):
                    group.graph.replay()
    except BaseException:  # an interrupt: the device must not go on with tensors that are about to be freed
        torch.cuda.synchronize()
        raise


def _call(groups, orders, steps):
    stop = threading.Event()  # an interrupt reaches the main thread only

    def walk(group, order):
        group.load(order)
        for _ in range(steps):
            if stop.is_set():
                return
            group.update()

    beside(walk, list(zip(groups, orders, strict=True)), groups[0].ds.device, stop)
