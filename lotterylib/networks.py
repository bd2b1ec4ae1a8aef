"""Networks as functions of a state with a replicate axis.

A *state* is a plain ``dict[str, Tensor]``: every parameter and buffer, each with a leading replicate axis R. A network
holds no weights of its own; it maps states to logits. Any ``nn.Module`` will do, through ``wrap``.
"""

import copy
import threading
import weakref
from concurrent.futures import ThreadPoolExecutor

import torch
from torch import nn
from torch.func import functional_call, stack_module_state

from . import architectures, checks, states
from .data import find_device
from .states import replicates, select


class Network:
    """A module together with the way its replicates are computed: stacked in one program, or each in its own.

    Both give the same results. Stacking is faster for small matrices; convolutions it turns into grouped ones, which
    are several times slower.

    ``make()`` returns a freshly initialised module; ``device`` is that of all states; ``description``, a dict, tells
    networks apart in checkpoints; ``prunable`` and ``stacked`` as in ``wrap``. Attributes: these, ``module``, which is
    one made by ``make``, and ``parameters``, the names of the entries that are trained. Raises ``ValueError`` for a
    module with dropout or without a prunable weight, and if ``prunable`` names what is not a parameter.
    """

    def __init__(self, make, device, description=None, prunable=None, stacked=None):
        self.make, self.device = make, device
        with torch.random.fork_rng(devices=[]):
            self.module = make().to(device)
        convolves = any(isinstance(m, nn.modules.conv._ConvNd) for m in self.module.modules())
        self.stacked = not convolves if stacked is None else stacked
        shapes = {name: tuple(p.shape) for name, p in self.module.named_parameters() if p.requires_grad}
        self.parameters = tuple(shapes)
        entries = *self.module.named_parameters(), *self.module.named_buffers()
        self.shapes = {name: tuple(tensor.shape) for name, tensor in entries}
        self.prunable = prunable_weights(self.module) if prunable is None else tuple(prunable)
        description = description or {"module": repr(self.module)}
        self.description = {**description, "shapes": shapes, "prunable": self.prunable}
        for name in self.prunable:
            checks.choice("prunable entry", name, self.parameters)
        if not self.prunable:
            raise ValueError("prunable is empty: the module has no convolution or linear weight; name its weights")
        if any(isinstance(m, nn.modules.dropout._DropoutNd) and m.p > 0 for m in self.module.modules()):
            raise ValueError("the module has dropout with p > 0, whose draws no seed here governs; it must have p = 0")

    def init(self, replicates=1, seed=0):
        """Return a freshly initialised state; replicate r is drawn as ``seed + r``, whatever ``replicates`` is.

        Raises ``ValueError`` unless ``replicates`` is a whole number, at least 1.
        """
        checks.whole("replicates", replicates, 1)
        modules = []
        with torch.random.fork_rng(devices=[]):
            for r in range(replicates):
                torch.manual_seed(seed + r)
                modules.append(self.make())
        return {
            name: tensor.detach().to(self.device)
            for part in stack_module_state(modules)
            for name, tensor in part.items()
        }

    def check(self, state, mask=None, x=None, y=None) -> int:
        """Return the number of replicates R of a state of this network, checked with what goes with it.

        ``mask``: its mask. ``x`` ``(N, ...)`` and ``y`` ``(N,)``: ready-to-feed inputs and their labels. Raises
        ``ValueError`` that names the argument, and the entry, if names, shapes, types or numbers are other than these.
        """
        count = states.check("state", state, self.shapes)
        if mask is not None:
            states.check("mask", mask, {name: self.shapes[name] for name in self.prunable}, count, torch.bool)
        if y is not None:
            checks.labels(x, y)
        return count

    def forward(self, state, x, train):
        """Logits ``(N, C)`` of one replicate, whose state has no replicate axis, on inputs ``x`` ``(N, ...)``.

        With ``train`` BatchNorm takes the statistics of ``x``, and changes the running ones in ``state`` in place.
        """
        own = vars(_THREAD).setdefault("modules", weakref.WeakKeyDictionary())  # a call swaps the module's tensors
        if self not in own:
            own[self] = copy.deepcopy(self.module)
        return functional_call(own[self].train(train), state, (x,))

    def map(self, function):
        """Map a function of one replicate's states (or masks), which returns a tensor, over the replicate axis."""
        return torch.vmap(function) if self.stacked else lambda *states: _looped(function, states)

    @torch.no_grad()
    def __call__(self, state, x):
        """Logits ``net(state, x)`` ``(R, N, C)`` of every replicate on the same ``x`` ``(N, ...)``, as evaluated."""

        def logits(one):
            return self.forward(one, x, train=False)

        with exact():
            if x.is_cuda:
                return self.map(logits)(state)
            # a forward pass alone is bound by memory: on a CPU one replicate at a time stays in the cache
            return _looped(logits, [state])


_THREAD = threading.local()


def beside(function, rows, device):
    """Call ``function(*row)`` for each of ``rows``: on a CPU in threads beside each other, which share the cores."""
    threads, grad = torch.get_num_threads(), torch.is_grad_enabled()
    if len(rows) == 1 or threads == 1 or device.type != "cpu":
        return [function(*row) for row in rows]

    def call(row):
        with torch.set_grad_enabled(grad):
            return function(*row)

    try:
        with ThreadPoolExecutor(
            min(threads, len(rows)), "replicate", torch.set_num_threads, (max(1, threads // len(rows)),)
        ) as pool:
            return list(pool.map(call, rows))
    finally:
        torch.set_num_threads(threads)  # the number is also that of threads that start later


def _looped(function, states):
    rows = [[select(state, r) for state in states] for r in range(replicates(states[0]))]
    return torch.stack(beside(function, rows, next(iter(states[0].values())).device))


def build(name, dataset, **options) -> Network:
    """Build a network of this library for a dataset, by its name in ``architectures.NAMES``, with its ``options``.

    ``cnn1d``, and without BatchNorm ``cnn1d_plain``: ``width=24``, channels. ``mlp``: ``hidden=(100, 100)``, units of
    each hidden layer. ``resnet8`` to ``resnet110``: ``width=16``, channels of the first stage. ``lenet_300_100`` and
    ``resnet18`` have none. Raises ``ValueError`` for an unknown name or inputs that the network does not take.
    """
    shape, classes = tuple(dataset.test_x.shape[1:]), dataset.num_classes
    description = {"network": name, "input": shape, "classes": classes, **options}
    return Network(lambda: architectures.module(name, shape, classes, **options), dataset.device, description)


def wrap(make, device="auto", prunable=None, stacked=None) -> Network:
    """Wrap any module: ``make`` takes no argument and returns a freshly initialised ``nn.Module``.

    Parameters that do not require gradients stay as they are. Checkpoints tell modules apart by their printed form and
    shapes: two that differ only in ``forward`` need folders of their own. On CUDA ``forward`` is captured in a graph:
    it must not read a tensor's value (``.item()``, a boolean mask) nor make one from Python numbers.

    ``prunable`` names the weights that may be pruned; the default is every weight of a convolution or linear layer,
    never a bias, never a normalisation's. ``stacked`` says whether replicates are computed in one program or each in
    its own; by default networks with torch's convolutions are not stacked. Raises ``ValueError`` as ``Network`` does.
    """
    return Network(make, find_device(device), prunable=prunable, stacked=stacked)


def exact():
    """Context for CUDA: float32 convolutions are not rounded to TF32, and a repeated run gives the same bits."""
    return torch.backends.cudnn.flags(enabled=True, benchmark=False, deterministic=True, allow_tf32=False)


def prunable_weights(module):
    """Names of the weights of a module's convolutions and linear layers, each once."""
    kinds = (nn.Linear, nn.modules.conv._ConvNd, architectures.Conv1d)
    names = {}  # by weight, since layers may share one
    for name, layer in module.named_modules():
        if isinstance(layer, kinds) and layer.weight.requires_grad:
            names.setdefault(layer.weight, f"{name}.weight" if name else "weight")
    return tuple(names.values())
