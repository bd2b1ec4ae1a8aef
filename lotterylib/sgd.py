"""SGD: one step of a group of replicates, which reads and writes fixed memory only.

On a CPU the step is called, and groups run in threads beside each other. On CUDA the step is captured once in a graph
and replayed, each group on a stream of its own: between two steps of an epoch the host waits for nothing.
"""

import copy

import torch
from torch.func import functional_call
from torch.nn import functional as F

from .networks import beside, exact
from .order import epoch_order, steps_per_epoch


class Group:
    """Replicates that are stepped together, their weights, momentum and statistics in memory of their own.

    ``rows`` says which replicates of ``state``, ``momentum``, ``mask`` and ``failed`` they are: a list of those that
    are stacked, or one number. ``momentum`` is like ``state``, of the trained entries. ``failed``, int64 ``(R,)``, is
    the step at which a replicate's loss ceased to be finite, -1 while it is. ``seeds`` are the order seeds of all
    replicates, a list; ``step`` is the first step.
    """

    def __init__(self, net, state, momentum, mask, failed, ds, recipe, seeds, rows, step):
        self.ds, self.recipe, self.rows = ds, recipe, rows
        self.state = {name: self._own(tensor) for name, tensor in state.items()}
        self.momentum = {name: self._own(tensor) for name, tensor in momentum.items()}
        self.keep = [torch.ones_like(self.state[name]) for name in net.parameters]
        for keep, name in zip(self.keep, net.parameters, strict=True):
            if name in mask:
                keep.copy_(mask[name][rows])
        self.failed = failed[rows].clone()
        self.leaves = {name: self.state[name].detach().requires_grad_() for name in net.parameters}  # the same memory
        self.buffers = {name: tensor for name, tensor in self.state.items() if name not in self.leaves}
        module = copy.deepcopy(net.module).train()  # its own, because a thread swaps tensors in it

        def logits(parameters, buffers, x):
            return functional_call(module, {**parameters, **buffers}, (x,))

        self.logits = torch.vmap(logits) if isinstance(rows, list) else logits
        self.seeds = [seeds[r] for r in rows] if isinstance(rows, list) else seeds[rows]
        self.step = torch.tensor([step], device=ds.device)
        precision = torch.float32 if ds.device.type == "cuda" else torch.float64  # what the fused update takes there
        self.rates = torch.tensor([recipe.lr_at(t) for t in range(recipe.steps)], dtype=precision, device=ds.device)
        self.indices, self.views = (
            None if drawn is None else drawn.to(ds.device) for drawn in self.order(step // steps_per_epoch(ds, recipe))
        )
        if ds.device.type == "cuda":
            self._capture()

    def _own(self, tensor):
        """A copy of this group's rows; one replicate's 2-D convolutions as channels last, which is fastest."""
        own = tensor[self.rows].clone(memory_format=torch.contiguous_format)
        alone = not isinstance(self.rows, list)
        return own.contiguous(memory_format=torch.channels_last) if alone and own.dim() == 4 else own

    def order(self, epoch):
        """The epoch's example indices and views, on the CPU, shaped as ``epoch_order`` with R in front if stacked."""
        if not isinstance(self.rows, list):
            return epoch_order(self.ds, self.recipe, self.seeds, epoch)
        drawn = zip(*(epoch_order(self.ds, self.recipe, seed, epoch) for seed in self.seeds), strict=True)
        return tuple(None if part[0] is None else torch.stack(part) for part in drawn)

    def load(self, order):
        """Put an epoch's order where the step reads it."""
        for fixed, drawn in zip((self.indices, self.views), order, strict=True):
            if fixed is not None:
                fixed.copy_(drawn)

    def update(self):
        """One step of SGD for every replicate of the group; the loss of each is the mean over its batch."""
        row = self.step % self.indices.shape[-2]
        indices, views = (
            None if table is None else table.index_select(-2, row).squeeze(-2) for table in (self.indices, self.views)
        )
        x, y = self.ds.gather(indices, views)
        half = self.recipe.precision == "bfloat16"
        with torch.enable_grad():
            with torch.autocast(x.device.type, torch.bfloat16, enabled=half, cache_enabled=False):
                logits = self.logits(self.leaves, self.buffers, x)
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
        self.failed.copy_(torch.where(lost, self.step.squeeze(0), self.failed))
        self.step += 1

    def _capture(self):
        """Record ``update`` in a CUDA graph, on this group's stream; the group is then as it was."""
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

    def store(self, state, momentum, failed):
        """Write the group's replicates back to the whole."""
        if self.indices.is_cuda:
            reader = torch.cuda.current_stream(self.indices.device)
            reader.wait_stream(self.stream)
        for whole, part in ((state, self.state), (momentum, self.momentum)):
            for name in part:
                whole[name][self.rows] = part[name]
        failed[self.rows] = self.failed
        if self.indices.is_cuda:
            self.stream.wait_stream(reader)  # the next replay writes what is read here


def advance(groups, begin, end, bar=None):
    """Step all groups from ``begin`` to ``end``."""
    ds, recipe = groups[0].ds, groups[0].recipe
    per_epoch = steps_per_epoch(ds, recipe)
    while begin < end:
        stop = min(end, (begin // per_epoch + 1) * per_epoch)
        orders = [group.order(begin // per_epoch) for group in groups]  # drawn while the device is still at work
        walk = _replay if ds.device.type == "cuda" else _call
        walk(groups, orders, stop - begin)
        if bar is not None:
            bar.update((stop - begin) * sum(group.failed.numel() for group in groups))
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
    def walk(group, order):
        group.load(order)
        for _ in range(steps):
            group.update()

    beside(walk, list(zip(groups, orders, strict=True)), groups[0].ds.device)
