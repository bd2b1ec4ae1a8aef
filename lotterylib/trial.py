"""What torch can do with a module that it has not met, found out by a trial on two examples."""

import contextlib
import copy

import torch
from torch.func import functional_call


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


def stacks(module, x, precision="float32") -> bool:
    """Whether torch can stack the module: forward and backward pass in training, and evaluation, under ``vmap``."""
    module, half = copy.deepcopy(module), torch.autocast(x.device.type, torch.bfloat16, precision == "bfloat16")
    weights = {name: torch.stack([p.detach()] * 2).requires_grad_() for name, p in module.named_parameters()}
    buffers = {name: torch.stack([tensor] * 2) for name, tensor in module.named_buffers()}

    def logits(weights, buffers, x):
        return functional_call(module, (weights, buffers), (x,))

    with contextlib.suppress(Exception):
        module.train()
        with torch.enable_grad(), half:
            out = torch.vmap(logits)(weights, buffers, torch.stack([x] * 2))
            torch.autograd.grad(out.float().logsumexp(-1).sum(), list(weights.values()), materialize_grads=True)
        module.eval()
        with torch.no_grad():
            torch.vmap(logits, (0, 0, None))(weights, buffers, x)
        return True
    return False


def _generators(device):
    return [torch.get_rng_state()] + ([torch.cuda.get_rng_state(device)] if device.type == "cuda" else [])
