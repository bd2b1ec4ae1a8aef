"""SGD: one step of a group of replicates, which reads and writes fixed memory only.

On a CPU the step is called, and groups run in threads beside each other. On CUDA the step is captured once in a graph
and replayed, each group on a stream of its own: between two steps of an epoch the host waits for nothing.
"""

import copy
import hashlib
import os

import torch
from torch.func import functional_call
from torch.nn import functional as F

from .networks import beside, exact

_WORKSPACE = 2**26  # bytes that cuBLAS takes for a stream, forward and backward
_COPIES = 8  # of the weights: the caller's and the group's, momentum twice, mask, gradient twice, one to spare


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


def fitting(net, ds, recipe, kept=0) -> int:
    """Number of replicates that can be trained at once in the memory of the dataset's device, estimated.

    Counted are copies of the weights and what a step's backward pass needs of its forward pass, measured on one batch;
    ``kept`` bytes a replicate are needed besides.
    """
    weights = sum(tensor.nbytes for tensor in net.init(1).values())
    step = 1.25 * saved_bytes(net, ds, recipe)  # and a quarter for what lives only within the backward pass
    each = _COPIES * weights + kept
    if ds.device.type == "cuda":
        free = torch.cuda.mem_get_info(ds.device)[0] + torch.cuda.memory_reserved(ds.device)
        free -= sum(tensor.nbytes for tensor in (ds.train_x, ds.train_y, ds.test_x, ds.test_y))
        return int(max(0, free) / (each + step + (0 if net.stacked else _WORKSPACE)))
    total = os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
    if net.stacked:
        return int(total / (each + step))
    return int(max(0, total - torch.get_num_threads() * step) / each)  # one after the other in each thread


def saved_bytes(net, ds, recipe) -> int:
    """Bytes that the backward pass of one replicate's step keeps of the forward pass, besides the weights."""
    state, saved = net.init(1), {}
    one = {name: tensor[0].requires_grad_(name in net.parameters) for name, tensor in state.items()}
    indices = torch.arange(min(recipe.batch_size, len(ds.train_y)), device=ds.device)

    def note(tensor):
        saved[tensor.untyped_storage().data_ptr()] = tensor.untyped_storage().nbytes()
        return tensor

    autocast = torch.autocast(ds.device.type, torch.bfloat16, enabled=recipe.precision == "bfloat16")
    with torch.enable_grad(), torch.autograd.graph.saved_tensors_hooks(note, lambda tensor: tensor), autocast:
        net.forward(one, ds.gather(indices)[0], train=True)
    for tensor in state.values():
        saved.pop(tensor.untyped_storage().data_ptr(), None)
    return sum(saved.values())


def steps_per_epoch(ds, recipe):
    """Number of whole batches in the training set; a last incomplete one is dropped."""
    return len(ds.train_y) // recipe.batch_size


def epoch_order(ds, recipe, seed, epoch):
    """The examples of an epoch's batches ``(steps, B)``, and how each is seen (``None`` without augmentation).

    Both are drawn on the CPU, and so are the same on every device.
    """
    steps, size = steps_per_epoch(ds, recipe), recipe.batch_size
    indices = torch.randperm(len(ds.train_y), generator=_generator("order", seed, epoch))[: steps * size]
    views = ds.draw_views(steps * size, _generator("augment", seed, epoch)) if ds.augment else None
    return indices.view(steps, size), None if views is None else views.view(steps, size)


def _generator(purpose, *numbers):
    """A random generator that depends on its purpose and numbers alone."""
    name = ":".join(map(str, (purpose, *numbers)))
    seed = int.from_bytes(hashlib.sha256(name.encode()).digest()[:8], "big") >> 1
    return torch.Generator().manual_seed(seed)
