"""Networks as plain modules: for one-dimensional inputs, and residual ones for small images."""

import inspect
from functools import partial

import torch
from torch import nn
from torch.nn import functional as F

from . import checks


class Linear(nn.Linear):
    """``nn.Linear``, but its gradient lies in memory as the weight does, without a transposition, when stacked."""

    def forward(self, x):
        return (self.weight @ x.mT).mT + self.bias


class Conv1d(nn.Module):
    """1-D convolution from ``(N, length, inputs)`` to ``(N, ceil(length / stride), outputs)``, for odd kernels.

    One matrix product of slices: stacked, it is 2-4 times faster than ``nn.Conv1d``, which becomes a grouped one.
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


def _only_features(name, shape):
    if len(shape) != 1:
        raise ValueError(f"network {name!r} takes inputs of shape (features,), not {shape}; 'mlp' takes any shape")


class CNN1d(nn.Module):
    """Three strided 1-D convolutions of ``width`` channels, each with BatchNorm or else a bias, and a linear layer.

    Inputs are ``(N, features)``, logits ``(N, classes)``. Raises ``ValueError`` unless ``shape`` is ``(features,)``.
    """

    def __init__(self, shape, classes, width=24, norm=True):
        super().__init__()
        _only_features("cnn1d", shape)
        plan = [(1, 5), (width, 3), (width, 3)]
        self.convolutions = nn.ModuleList(Conv1d(i, width, kernel, stride=2, bias=not norm) for i, kernel in plan)
        self.norms = nn.ModuleList(_ChannelsLastNorm(width) if norm else nn.Identity() for _ in plan)
        self.linear = Linear(-(-shape[0] // 2 ** len(plan)) * width, classes)  # each stride halves, rounding up

    def forward(self, x):
        x = x.unsqueeze(-1)
        for convolution, norm in zip(self.convolutions, self.norms, strict=True):
            x = F.relu(norm(convolution(x)))
        return self.linear(x.flatten(1))


class _Block(nn.Module):
    """Two convolutions of kernel 3 beside a shortcut, which is a convolution of kernel 1 where the shape changes."""

    def __init__(self, conv, norm, inputs, outputs, stride):
        super().__init__()
        self.conv1, self.norm1 = conv(inputs, outputs, 3, stride), norm(outputs)
        self.conv2, self.norm2 = conv(outputs, outputs, 3, 1), norm(outputs)
        self.shortcut = nn.Sequential()
        if stride != 1 or inputs != outputs:
            self.shortcut = nn.Sequential(conv(inputs, outputs, 1, stride), norm(outputs))

    def forward(self, x):
        inner = F.relu(self.norm1(self.conv1(x)))
        return F.relu(self.norm2(self.conv2(inner)) + self.shortcut(x))


class ResNet1d(nn.Module):
    """ResNet-20 in miniature, for one-dimensional inputs: a strided stem, three stages of ``blocks``, mean, linear.

    All layers have ``width`` channels; the second and the third stage halve the length. Inputs are ``(N, features)``,
    logits ``(N, classes)``. Raises ``ValueError`` unless ``shape`` is ``(features,)``.
    """

    def __init__(self, shape, classes, width=24, blocks=1):
        super().__init__()
        _only_features("resnet1d", shape)
        conv = partial(Conv1d, bias=False)
        self.stem = nn.Sequential(conv(1, width, 5, 2), _ChannelsLastNorm(width))
        strides = [stride for first in (1, 2, 2) for stride in (first, *[1] * (blocks - 1))]
        self.blocks = nn.Sequential(*(_Block(conv, _ChannelsLastNorm, width, width, stride) for stride in strides))
        self.linear = Linear(width, classes)

    def forward(self, x):
        return self.linear(self.blocks(F.relu(self.stem(x.unsqueeze(-1)))).mean(1))


def _mlp(shape, classes, hidden=(100, 100)):
    sizes = (torch.Size(shape).numel(), *hidden)
    layers = [m for i, o in zip(sizes, sizes[1:], strict=False) for m in (Linear(i, o), nn.ReLU())]
    return nn.Sequential(nn.Flatten(), *layers, Linear(sizes[-1], classes))


def _kaiming(network):
    """Draw weights Kaiming normal, and BatchNorm's scale uniform, as in open_lth."""
    for layer in network.modules():
        if isinstance(layer, nn.Conv2d | nn.Linear):
            nn.init.kaiming_normal_(layer.weight)
        elif isinstance(layer, nn.BatchNorm2d):
            nn.init.uniform_(layer.weight)
    return network


def _conv2d(inputs, outputs, kernel, stride):
    return nn.Conv2d(inputs, outputs, kernel, stride, padding=kernel // 2, bias=False)


class ResNet(nn.Module):
    """Residual network for small images (He et al. 2016): 3x3 stem, stages of basic blocks, mean over pixels, linear.

    ``widths`` and ``blocks``: channels and number of blocks of each stage; each but the first halves height and width.
    Weights are drawn as torchvision's. Raises ``ValueError`` unless ``shape`` is ``(channels, height, width)``.
    """

    def __init__(self, shape, classes, widths, blocks):
        super().__init__()
        if len(shape) != 3:
            raise ValueError(f"a ResNet takes images of shape (channels, height, width), not {shape}")
        channels = (widths[0], *widths)
        self.stem = nn.Sequential(_conv2d(shape[0], widths[0], 3, 1), nn.BatchNorm2d(widths[0]))
        self.stages, block = nn.Sequential(), partial(_Block, _conv2d, nn.BatchNorm2d)
        for stage, (width, count) in enumerate(zip(widths, blocks, strict=True)):
            self.stages.append(block(channels[stage], width, stride=2 if stage else 1))
            self.stages.extend(block(width, width, stride=1) for _ in range(1, count))
        self.linear = nn.Linear(widths[-1], classes)
        for layer in self.modules():
            if isinstance(layer, nn.Conv2d):
                nn.init.kaiming_normal_(layer.weight, mode="fan_out", nonlinearity="relu")

    def forward(self, x):
        return self.linear(self.stages(F.relu(self.stem(x))).mean((2, 3)))


def _resnet(depth, shape, classes, width=16):
    """The family of depth 6 n + 2, with n blocks a stage."""
    return _kaiming(ResNet(shape, classes, (width, 2 * width, 4 * width), [(depth - 2) // 6] * 3))


def module(name, shape, classes, **options) -> nn.Module:
    """Make a network by its name in ``NAMES``. Raises ``ValueError`` for other names, and for unfit arguments."""
    make = _CONSTRUCTORS[checks.choice("network", name, NAMES)]
    for option in options:
        checks.choice(f"option of network {name!r}", option, list(inspect.signature(make).parameters)[2:])
    for option in ("width", "blocks"):
        checks.whole(option, options.get(option, 1), 1)
    for units in checks.kind("hidden", options.get("hidden", ()), list, tuple):
        checks.whole("hidden", units, 1)
    return make(shape, classes, **options)


_CONSTRUCTORS = {
    "cnn1d": CNN1d,
    "cnn1d_plain": lambda shape, classes, width=24: CNN1d(shape, classes, width, norm=False),
    "resnet1d": ResNet1d,
    "mlp": _mlp,
    "lenet_300_100": lambda shape, classes: _kaiming(_mlp(shape, classes, hidden=(300, 100))),
    **{f"resnet{depth}": partial(_resnet, depth) for depth in (8, 14, 20, 32, 44, 56, 110)},
    "resnet18": lambda shape, classes: ResNet(shape, classes, (64, 128, 256, 512), (2, 2, 2, 2)),
}
NAMES = tuple(_CONSTRUCTORS)  # of all architectures
