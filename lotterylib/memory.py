"""How many replicates fit into the memory of a device, estimated before they are trained."""

import torch

from . import order, trial
from .data import host_memory

_WORKSPACE = 2**26  # bytes that cuBLAS takes for a stream, forward and backward
_COPIES = 8  # of the weights: the caller's and the group's, momentum twice, mask, gradient twice, one to spare


def fitting(net, ds, recipe, kept=0) -> int:
    """Number of replicates that can be trained at once in the memory of the dataset's device, estimated.

    By copies of the weights, ``kept`` ones besides, and what a backward pass on one batch needs of its forward pass.
    """
    weights = sum(tensor.nbytes for tensor in net.init(1).values())
    step = 1.25 * saved_bytes(net, ds, recipe)  # and a quarter for what lives only within the backward pass
    each = (_COPIES + kept) * weights
    if ds.device.type == "cuda":
        each += order.SPAN["cuda"] * recipe.batch_size * ds.test_x[0].nbytes
        free = torch.cuda.mem_get_info(ds.device)[0] + torch.cuda.memory_reserved(ds.device)
        free -= sum(tensor.nbytes for tensor in (ds.train_x, ds.train_y, ds.test_x, ds.test_y))
        return int(max(0, free) / (each + step + (0 if net.stacked else _WORKSPACE)))
    if net.stacked:
        return int(host_memory() / (each + step))
    return int(max(0, host_memory() - torch.get_num_threads() * step) / each)  # one after the other in each thread


def saved_bytes(net, ds, recipe) -> int:
    """Bytes that the backward pass of one replicate's step keeps of the forward pass, besides the weights."""
    state, saved = net.init(1), {}
    one = {name: tensor[0].requires_grad_(name in net.parameters) for name, tensor in state.items()}
    indices = torch.arange(min(recipe.batch_size, len(ds.train_y)), device=ds.device)

    def note(tensor):
        saved[tensor.untyped_storage().data_ptr()] = tensor.untyped_storage().nbytes()
        return tensor.detach()  # an output that its own node held would never be freed

    hooks = torch.autograd.graph.saved_tensors_hooks(note, lambda tensor: tensor)
    with torch.enable_grad(), hooks, trial.autocast(ds.device, recipe.precision):
        net.forward(one, ds.gather(indices)[0], train=True)
    for tensor in state.values():
        saved.pop(tensor.untyped_storage().data_ptr(), None)
    return sum(saved.values())
