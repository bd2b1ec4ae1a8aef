"""Other ways to write a training step than the library's, to be timed against it on a GPU: leaner, compiled, wide.

``Lean`` is one captured step with fewer kernels, for one replicate, or for several in one wide network: grouped
convolutions, BatchNorm over R * C channels, a batched linear layer. It computes what ``sgd.Group`` computes; a test
compares the two.
"""

import copy

import torch
from torch import nn
from torch.nn import functional as F

from lotterylib import order


class WideLinear(nn.Module):
    """The linear layers of R replicates: from ``(B, R * inputs)`` to ``(R, B, outputs)``."""

    def __init__(self, layer, count):
        super().__init__()
        self.count = count
        self.weight = nn.Parameter(torch.empty(count, *layer.weight.shape))
        self.bias = nn.Parameter(torch.empty(count, layer.out_features))

    def forward(self, x):
        x = x.unflatten(1, (self.count, -1)).transpose(0, 1)
        return torch.baddbmm(self.bias[:, None].to(x.dtype), x, self.weight.mT.to(x.dtype))


def widen(module, count):
    """Replace the layers of a residual network by wide ones of ``count`` replicates, in place."""
    for name, child in module.named_children():
        if isinstance(child, nn.Conv2d):
            sizes = child.in_channels * count, child.out_channels * count, child.kernel_size, child.stride
            wide = nn.Conv2d(*sizes, child.padding, groups=count, bias=False)
        elif isinstance(child, nn.BatchNorm2d):
            wide = nn.BatchNorm2d(child.num_features * count, child.eps, child.momentum)
        elif isinstance(child, nn.Linear):
            wide = WideLinear(child, count)
        else:
            widen(child, count)
            continue
        setattr(module, name, wide)
    return module


class Lean:
    """A step of SGD in fixed memory, as ``sgd.Group``'s, for the replicates of ``state``: several make a wide network.

    Fewer kernels: the pictures of ``rows`` batches are augmented beforehand and take turns, all weights are cast to
    ``dtype`` at once, BatchNorm counts no batches, no loss is watched, and the rate is ``recipe.lr`` throughout. In
    float16 the loss is scaled by a fixed number, which the mask takes back. ``compiled``: forward and backward pass by
    ``torch.compile``.
    """

    def __init__(self, net, ds, recipe, seeds, state, mask, dtype, compiled=False, rows=20):
        self.recipe, self.count = recipe, len(seeds)
        scale = 128.0 if dtype == torch.float16 else 1.0
        module = copy.deepcopy(net.module)
        module = (widen(module, self.count) if self.count > 1 else module).to(ds.device)
        with torch.no_grad():
            for name, tensor in (*module.named_parameters(), *module.named_buffers()):
                if not name.endswith("num_batches_tracked"):
                    tensor.copy_(state[name].reshape(tensor.shape))
        self.module = module = module.to(memory_format=torch.channels_last).train()
        for layer in module.modules():
            if isinstance(layer, nn.BatchNorm2d):
                layer.num_batches_tracked = None
        self.names = [name for name, _ in module.named_parameters()]
        owners = [module.get_submodule(name.rpartition(".")[0]) for name in self.names]
        self.cast = [not isinstance(owner, nn.BatchNorm2d) for owner in owners]
        self.master = [p.detach().clone() for p in module.parameters()]
        for cast, name, owner, whole in zip(self.cast, self.names, owners, self.master, strict=True):
            value = whole.to(dtype, copy=True) if cast else whole  # one that is not cast is its own master
            setattr(owner, name.rpartition(".")[2], nn.Parameter(value))
        self.leaves = list(module.parameters())
        self.momentum = [torch.zeros_like(whole) for whole in self.master]
        self.gradient = [torch.zeros_like(whole) for whole in self.master]
        self.keep = [torch.full_like(whole, 1 / scale) for whole in self.master]
        for keep, name in zip(self.keep, self.names, strict=True):
            if name in mask:
                keep.mul_(mask[name].reshape(keep.shape))
        kind = torch.float32 if ds.device.type == "cuda" else torch.float64  # what the fused update takes
        self.rate = torch.full((1,), recipe.lr, dtype=kind, device=ds.device)
        self.step = torch.zeros(1, dtype=torch.long, device=ds.device)
        xs, ys = [], []
        for seed in seeds:
            drawn = order.epoch_order(ds, recipe, seed, 0)
            x, y = ds.gather(*(None if part is None else part[:rows].to(ds.device) for part in drawn))
            xs.append(x)
            ys.append(y)
        self.x = torch.cat(xs, 2).to(dtype).movedim(2, -1).contiguous()  # (rows, B, H, W, R * C)
        self.y = torch.stack(ys, 1)  # (rows, R, B)

        def loss(x, y):
            logits = module(x).float()
            return F.cross_entropy(logits.flatten(0, -2), y.flatten(), reduction="sum") * (scale / recipe.batch_size)

        self.loss = torch.compile(loss, fullgraph=True) if compiled else loss

    def update(self):
        """One step of every replicate; the loss of each is the mean over its batch."""
        row = self.step % len(self.x)
        x, y = (table.index_select(0, row).squeeze(0) for table in (self.x, self.y))
        with torch.enable_grad():
            found = torch.autograd.grad(self.loss(x.movedim(-1, 1), y), self.leaves)
        for cast in (True, False):  # of one type a list: in lists of several, torch copies tensor by tensor
            torch._foreach_copy_(self._of(self.gradient, cast), self._of(found, cast))
        torch._foreach_mul_(self.gradient, self.keep)
        torch._fused_sgd_(
            self.master, self.gradient, self.momentum, lr=self.rate, momentum=self.recipe.momentum, dampening=0.0,
            nesterov=False, weight_decay=self.recipe.weight_decay, maximize=False, is_first_step=False,
        )  # fmt: skip
        with torch.no_grad():
            torch._foreach_copy_(self._of(self.leaves, True), self._of(self.master, True))
        self.step += 1

    def _of(self, tensors, cast):
        return [tensor for tensor, is_cast in zip(tensors, self.cast, strict=True) if is_cast == cast]
