"""The book's networks of torch's own layers, channels first; entries have the library's names. No lotterylib here."""

import torch
from torch import nn
from torch.nn import functional as F


class Plain(nn.Module):
    """Three strided convolutions, each with BatchNorm and ReLU, and a linear layer over positions and channels."""

    def __init__(self, width):
        super().__init__()
        sizes = ((1, 5), (width, 3), (width, 3))
        self.convolutions = nn.ModuleList(nn.Conv1d(i, width, k, 2, k // 2, bias=False) for i, k in sizes)
        self.norms = nn.ModuleList(nn.BatchNorm1d(width) for _ in sizes)
        self.linear = nn.Linear(5 * width, 10)

    def forward(self, x):
        x = x[:, None]
        for convolution, norm in zip(self.convolutions, self.norms, strict=True):
            x = F.relu(norm(convolution(x)))
        return self.linear(x.transpose(1, 2).flatten(1))


class Block(nn.Module):
    def __init__(self, width, stride):
        super().__init__()
        self.conv1, self.norm1 = nn.Conv1d(width, width, 3, stride, 1, bias=False), nn.BatchNorm1d(width)
        self.conv2, self.norm2 = nn.Conv1d(width, width, 3, 1, 1, bias=False), nn.BatchNorm1d(width)
        beside = (nn.Conv1d(width, width, 1, stride, bias=False), nn.BatchNorm1d(width)) if stride > 1 else ()
        self.shortcut = nn.Sequential(*beside)

    def forward(self, x):
        return F.relu(self.norm2(self.conv2(F.relu(self.norm1(self.conv1(x))))) + self.shortcut(x))


class Residual(nn.Module):
    """A strided stem, three stages of residual blocks, the mean over positions, a linear layer."""

    def __init__(self, width, blocks):
        super().__init__()
        self.stem = nn.Sequential(nn.Conv1d(1, width, 5, 2, 2, bias=False), nn.BatchNorm1d(width))
        strides = [stride for first in (1, 2, 2) for stride in (first, *[1] * (blocks - 1))]
        self.blocks = nn.Sequential(*(Block(width, stride) for stride in strides))
        self.linear = nn.Linear(width, 10)

    def forward(self, x):
        return self.linear(self.blocks(F.relu(self.stem(x[:, None]))).mean(2))


def laid(weights):
    """Entries by name, arrays or tensors, as these networks take them; elsewhere kernels are (outputs, kernel, inputs).

    The way back is the same.
    """
    tensors = {name: torch.as_tensor(array) for name, array in weights.items()}
    return {name: tensor.mT if tensor.dim() == 3 else tensor for name, tensor in tensors.items()}


def network(weights):
    """The network that these entries are of, with them, in their precision and evaluation mode."""
    entries = laid(weights)
    width = len(next(array for array in weights.values() if array.ndim == 3))
    blocks = sum(name.endswith("conv1.weight") for name in weights) // 3
    made = Residual(width, blocks) if blocks else Plain(width)
    made.to(entries["linear.weight"].dtype).load_state_dict(entries)
    return made.eval()
