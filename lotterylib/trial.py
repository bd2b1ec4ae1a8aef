"""What torch can do with a module that it has not met, found out by a trial on two examples; how it is stacked."""

import contextlib
import copy

import torch
from torch.func import functional_call
from torch.nn import functional as F
from torch.overrides import TorchFunctionMode


def classes(module, x) -> int:
    """Return the number of classes of a module that maps inputs ``x`` (two examples) to logits ``(2, C)``.

    Raises ``ValueError`` if it does not, draws random numbers in training, or puts another tensor in a buffer's place.
    """
    module = copy.deepcopy(module).train()
    buffers, before = dict(module.named_buffers()), _generators(x.device)
    try:
        logits = module(x)
    except Exception as error:  # a module may raise anything
        raise ValueError(f"the network does not take inputs x of shape {tuple(x.shape)}, {x.dtype}: {error}") from error
    if any(not torch.equal(a, b) for a, b in zip(before, _generators(x.device), strict=True)):
        found = "the module draws random numbers in training (dropout, noise, stochastic depth)"
        raise ValueError(f"{found}, which no seed here governs; switch them off, for instance with p = 0")
    lost = [name for name, tensor in module.named_buffers() if buffers.get(name) is not tensor]
    if lost:
        found = f"the module's forward puts another tensor in the place of its buffer {lost[0]!r}, which would be lost"
        raise ValueError(f"{found}; it must change the buffer in place, with copy_ or the like")
    if not isinstance(logits, torch.Tensor) or logits.dim() != 2 or len(logits) != 2:
        came = f"{type(logits).__name__} {tuple(getattr(logits, 'shape', ()))}"
        raise ValueError(f"the network returns a {came} for 2 inputs; it must return one tensor of logits (2, classes)")
    return logits.shape[1]


def takes_channels_last(module, x) -> bool:
    """Whether a training step of the module runs with images and weights laid out as channels last."""
    with contextlib.suppress(Exception):  # whatever torch says: there is another way
        x = x.contiguous(memory_format=torch.channels_last)  # which only images can be
        copy.deepcopy(module).train().to(memory_format=torch.channels_last)(x).sum().backward()
        return True
    return False


def stacks(module, x, precision="float32", cast=()) -> bool:
    """Whether torch can stack the module: forward and backward pass in training, and evaluation, under ``vmap``.

    ``precision``: of products in training, and of the weights named in ``cast``, as a training step has them.
    """
    module = copy.deepcopy(module)
    whole = {name: torch.stack([p.detach()] * 2) for name, p in module.named_parameters()}
    kinds = {name: getattr(torch, precision) for name in cast if whole[name].dtype == torch.float32}
    weights = {name: p.to(kinds.get(name, p.dtype)).requires_grad_() for name, p in whole.items()}
    buffers = {name: torch.stack([tensor] * 2) for name, tensor in module.named_buffers()}

    def logits(weights, buffers, x):
        return functional_call(module, (weights, buffers), (x,))

    with contextlib.suppress(Exception):
        module.train()
        with torch.enable_grad(), autocast(x.device, precision), fewer(x.device, ()):
            kind = next(iter(kinds.values()), x.dtype) if x.is_floating_point() else x.dtype
            out = torch.vmap(logits)(weights, buffers, torch.stack([x] * 2).to(kind))
            torch.autograd.grad(out.float().logsumexp(-1).sum(), list(weights.values()), materialize_grads=True)
        module.eval()
        with torch.no_grad():
            torch.vmap(logits, (0, 0, None))(whole, buffers, x)
        return True
    return False


def autocast(device, precision):
    """The context in which products are computed in ``precision``; weights are cast for a step, not for a context."""
    half = torch.float16 if precision == "float16" else torch.bfloat16
    return torch.autocast(device.type, half, precision != "float32", cache_enabled=False)


def fewer(device, counters):
    """The context in which a training step takes fewer kernels: on CUDA, where each costs its launch."""
    return _Few(counters) if device.type == "cuda" else contextlib.nullcontext()


class _Few(TorchFunctionMode):
    """BatchNorm's ``counters``, told by where they lie, are raised at once; stacked replicates share one BatchNorm.

    As its channels: torch's own rule takes three times the traffic there, and refuses half precision.
    """

    def __init__(self, counters):
        super().__init__()
        self.counters, self.counted = counters, []

    def __torch_function__(self, function, types, args=(), kwargs=None):
        given = *args, *(kwargs or {}).values()
        if function is F.batch_norm and _stacked(given[0]) and given[5] and all(map(torch.is_tensor, given[1:5])):
            return _Norm.apply(*given)
        if function is torch.Tensor.add_:
            whole = torch._C._functorch.get_unwrapped(args[0]) if _stacked(args[0]) else args[0]
            if whole.data_ptr() in self.counters:
                self.counted.append(whole)
                return args[0]
        return function(*args, **(kwargs or {}))

    def __exit__(self, *error):
        super().__exit__(*error)
        if self.counted:
            torch._foreach_add_(self.counted, 1)


_stacked = torch._C._functorch.is_batchedtensor  # whether it is of all replicates, under ``vmap``


class _Norm(torch.autograd.Function):
    """``F.batch_norm`` in training, under ``vmap``, by which it is derived."""

    forward = setup_context = staticmethod(lambda *_: None)

    @staticmethod
    def vmap(info, dims, x, *rest):
        flat = [tensor.movedim(dim, 0).flatten() for tensor, dim in zip(rest[:4], dims[1:], strict=False)]
        x = F.batch_norm(x.movedim(dims[0], 1).flatten(1, 2), *flat, *rest[4:])
        return x.unflatten(1, (info.batch_size, -1)), 1


def _generators(device):
    return [torch.get_rng_state()] + ([torch.cuda.get_rng_state(device)] if device.type == "cuda" else [])
