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
from torch.nn import functional as F

from . import checks
from .data import find_device


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
    """Build a network of this library for a dataset, by its name in ``NAMES``, with its ``options``.

    ``cnn1d``, and without BatchNorm ``cnn1d_plain``: ``width=24``, channels. ``mlp``: ``hidden=(100, 100)``, units of
    each hidden layer. ``resnet8`` to ``resnet110``: ``width=16``, channels of the first stage. ``lenet_300_100`` and
    ``resnet18`` have none. Raises ``ValueError`` for an unknown name or inputs that the network does not take.
    """
    shape, classes = tuple(dataset.test_x.shape[1:]), dataset.num_classes
    description = {"network": name, "input": shape, "classes": classes, **options}
    return Network(lambda: module(name, shape, classes, **options), dataset.device, description)


def module(name, shape, classes, **options) -> nn.Module:
    """Make the module that ``build`` wraps, for inputs of ``shape`` and so many classes. Raises as ``build`` does."""
    return _CONSTRUCTORS[checks.choice("network", name, NAMES)](shape, classes, **options)


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


def replicates(state) -> int:
    """Return the number of replicates R of a state."""
    return len(next(iter(state.values())))


def select(state, indices):
    """Return the replicates of a state or mask at ``indices``, a list or slice; one number drops the replicate axis."""
    return {name: tensor[indices] for name, tensor in state.items()}


def concatenate(states):
    """Join several states or masks along the replicate axis."""
    return {name: torch.cat([state[name] for state in states]) for name in states[0]}


def dot(u, v):
    """Inner product of two states or directions over the entries of ``u``, float64 ``(R,)``."""
    return sum((u[name].double() * v[name].double()).reshape(len(u[name]), -1).sum(1) for name in u)


def times(direction, factor):
    """Multiply each replicate of a direction by its ``factor`` ``(R,)``."""
    return {
        name: factor.to(tensor.dtype).view(-1, *[1] * (tensor.dim() - 1)) * tensor for name, tensor in direction.items()
    }


def prunable_weights(module):
    """Names of the weights of a module's convolutions and linear layers, each once."""
    kinds = (nn.Linear, nn.modules.conv._ConvNd, Conv1d)
    names = {}  # by weight, since layers may share one
    for name, layer in module.named_modules():
        if isinstance(layer, kinds) and layer.weight.requires_grad:
            names.setdefault(layer.weight, f"{name}.weight" if name else "weight")
    return tuple(names.values())


class Linear(nn.Linear):
    """``nn.Linear``, written so that under the replicate axis the weight's gradient lies in memory as the weight does.

    ``nn.Linear`` works too, but its gradient must then be transposed at every step.
    """

    def forward(self, x):
        return (self.weight @ x.mT).mT + self.bias


class Conv1d(nn.Module):
    """1-D convolution of ``(N, length, inputs)`` as slices and one matrix product, padded by ``kernel // 2``.

    With an odd kernel the result is ``(N, ceil(length / stride), outputs)``. ``weight`` is ``(outputs, kernel,
    inputs)``, and there is a bias if ``bias`` is true. Under the replicate axis this is 2-4 times faster than
    ``nn.Conv1d``, which becomes a grouped convolution.
    """

    def __init__(self, inputs, outputs, kernel, stride, bias):
        super().__init__()
        self.stride, self.padding = stride, kernel // 2
        bound = (kernel * inputs) ** -0.5  # as nn.Conv1d draws weight and bias
        self.weight = nn.Parameter(torch.empty(outputs, kernel, inputs).uniform_(-bound, bound))
        self.bias = nn.Parameter(torch.empty(outputs).uniform_(-bound, bound)) if bias else None

    def forward(self, x):
        kernel = self.weight.shape[1]
        x = F.pad(x, (0, 0, self.padding, self.padding))
        last = x.shape[1] - kernel
        patches = torch.cat([x[:, j : j + last + 1 : self.stride] for j in range(kernel)], dim=2)
        return F.linear(patches, self.weight.flatten(1), self.bias)


class _ChannelsLastNorm(nn.BatchNorm1d):
    """BatchNorm over ``(N, length, channels)``."""

    def forward(self, x):
        return super().forward(x.flatten(0, 1)).view_as(x)


class CNN1d(nn.Module):
    """Three strided 1-D convolutions and a linear layer: the testbed of the book.

    With ``norm`` each convolution, of ``width`` channels, is followed by BatchNorm, without it each has a bias. Inputs
    are ``(N, features)``, logits ``(N, classes)``. Raises ``ValueError`` unless ``shape`` is ``(features,)``.
    """

    def __init__(self, shape, classes, width=24, norm=True):
        super().__init__()
        if len(shape) != 1:
            raise ValueError(f"network 'cnn1d' takes inputs of shape (features,), not {shape}; 'mlp' takes any shape")
        plan = [(1, 5), (width, 3), (width, 3)]
        self.convolutions = nn.ModuleList(Conv1d(i, width, kernel, stride=2, bias=not norm) for i, kernel in plan)
        self.norms = nn.ModuleList(_ChannelsLastNorm(width) if norm else nn.Identity() for _ in plan)
        length = shape[0]
        for _ in plan:
            length = (length + 1) // 2
        self.linear = Linear(length * width, classes)

    def forward(self, x):
        x = x.unsqueeze(-1)
        for convolution, norm in zip(self.convolutions, self.norms, strict=True):
            x = F.relu(norm(convolution(x)))
        return self.linear(x.flatten(1))


def _mlp(shape, classes, hidden=(100, 100)):
    sizes = (torch.Size(shape).numel(), *hidden)
    layers = [m for i, o in zip(sizes, sizes[1:], strict=False) for m in (Linear(i, o), nn.ReLU())]
    return nn.Sequential(nn.Flatten(), *layers, Linear(sizes[-1], classes))


def _lenet_300_100(shape, classes):
    network = _mlp(shape, classes, hidden=(300, 100))
    for module in network:
        if isinstance(module, nn.Linear):
            nn.init.kaiming_normal_(module.weight)
    return network


class _Block(nn.Module):
    """Two 3x3 convolutions beside a shortcut, which is a 1x1 convolution where the shape changes."""

    def __init__(self, inputs, outputs, stride):
        super().__init__()
        self.conv1 = nn.Conv2d(inputs, outputs, 3, stride, padding=1, bias=False)
        self.norm1 = nn.BatchNorm2d(outputs)
        self.conv2 = nn.Conv2d(outputs, outputs, 3, padding=1, bias=False)
        self.norm2 = nn.BatchNorm2d(outputs)
        self.shortcut = nn.Sequential()
        if stride != 1 or inputs != outputs:
            self.shortcut = nn.Sequential(nn.Conv2d(inputs, outputs, 1, stride, bias=False), nn.BatchNorm2d(outputs))

    def forward(self, x):
        inner = F.relu(self.norm1(self.conv1(x)))
        return F.relu(self.norm2(self.conv2(inner)) + self.shortcut(x))


class ResNet(nn.Module):
    """Residual network for small images (He et al. 2016): 3x3 stem, stages of basic blocks, mean over pixels, linear.

    ``widths`` and ``blocks``: channels and number of blocks of each stage; each but the first halves height and width.
    Weights are drawn as torchvision draws those of its ResNets. Inputs are ``(N, *shape)``, logits ``(N, classes)``.
    Raises ``ValueError`` unless ``shape`` is ``(channels, height, width)``.
    """

    def __init__(self, shape, classes, widths, blocks):
        super().__init__()
        if len(shape) != 3:
            raise ValueError(f"a ResNet takes images of shape (channels, height, width), not {shape}")
        channels = (widths[0], *widths)
        self.stem = nn.Sequential(nn.Conv2d(shape[0], widths[0], 3, padding=1, bias=False), nn.BatchNorm2d(widths[0]))
        self.stages = nn.Sequential(
            *(
                _Block(channels[stage] if i == 0 else width, width, stride=2 if stage and i == 0 else 1)
                for stage, (width, count) in enumerate(zip(widths, blocks, strict=True))
                for i in range(count)
            )
        )
        self.linear = nn.Linear(widths[-1], classes)
        for layer in self.modules():
            if isinstance(layer, nn.Conv2d):
                nn.init.kaiming_normal_(layer.weight, mode="fan_out", nonlinearity="relu")

    def forward(self, x):
        return self.linear(self.stages(F.relu(self.stem(x))).mean((2, 3)))


def _resnet(depth):
    """The family of depth 6 n + 2, with n blocks a stage; Kaiming normal, BatchNorm's scale uniform, as in open_lth."""

    def make(shape, classes, width=16):
        network = ResNet(shape, classes, (width, 2 * width, 4 * width), [(depth - 2) // 6] * 3)
        for layer in network.modules():
            if isinstance(layer, nn.Conv2d | nn.Linear):
                nn.init.kaiming_normal_(layer.weight)
            elif isinstance(layer, nn.BatchNorm2d):
                nn.init.uniform_(layer.weight)
        return network

    return make


_CONSTRUCTORS = {
    "cnn1d": CNN1d,
    "cnn1d_plain": lambda shape, classes, width=24: CNN1d(shape, classes, width, norm=False),
    "mlp": _mlp,
    "lenet_300_100": _lenet_300_100,
    **{f"resnet{depth}": _resnet(depth) for depth in (8, 14, 20, 32, 44, 56, 110)},
    "resnet18": lambda shape, classes: ResNet(shape, classes, (64, 128, 256, 512), (2, 2, 2, 2)),
}
NAMES = tuple(_CONSTRUCTORS)  # what ``build`` takes
