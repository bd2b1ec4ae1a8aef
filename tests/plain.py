"""The book's networks, data and published weights without lotterylib, for what is computed a second time.

Networks are of torch's own layers, channels first, and their entries have the library's names; data come from the
package that generates them, weights from the files of safetensors.
"""

import json
from functools import lru_cache
from pathlib import Path

import numpy as np
import torch
from safetensors.numpy import load_file
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


@lru_cache
def mnist1d():
    """The set as the package names its parts, inputs (N, 40) standardised by one mean and deviation of the training's.

    Inputs are tensors in float64, labels in int64.
    """
    from mnist1d.data import get_dataset_args, make_dataset

    arguments = get_dataset_args()
    vars(arguments).update(num_samples=9000, train_split=4000 / 9000, seed=42)
    made = make_dataset(arguments)
    mean, std = made["x"].mean(), made["x"].std()
    inputs = {name: torch.from_numpy((made[name] - mean) / std) for name in ("x", "x_test")}
    return inputs | {name: torch.from_numpy(made[name]) for name in ("y", "y_test")}


RECORDS = Path(__file__).resolve().parent.parent / "records"
PRESETS = [name for name in ("book",) if (RECORDS / name / "imp_main").is_dir()]  # those of MNIST-1D


@lru_cache
def published(preset):
    """The folder of a preset's published run, and its settings."""
    (path,) = (RECORDS / preset / "imp_main").glob("*/settings.json")
    return path.parent, json.loads(path.read_text())


@lru_cache
def _level(preset, level):
    return load_file(published(preset)[0] / f"level_{level:02d}.safetensors")


def solution(preset, level, row):
    """``w^(L)`` of the replicate in a row of the published run, and its mask: arrays by name.

    Of prunable entries the file holds the surviving weights, one replicate after the other, and the mask's bits.
    """
    saved, shapes = _level(preset, level), published(preset)[1]["network"]["shapes"]
    weights, mask = {}, {}
    for name, shape in shapes.items():
        held = saved[f"state/{name}"]
        if f"bits/{name}" not in saved:
            weights[name] = held[row]
            continue
        shape = (len(saved["error"]), *shape)
        kept = np.unpackbits(saved[f"bits/{name}"], count=int(np.prod(shape))).astype(bool).reshape(shape)
        begin, mask[name] = int(kept[:row].sum()), kept[row]
        weights[name] = np.zeros(shape[1:], dtype=np.float32)
        weights[name][mask[name]] = held[begin : begin + int(mask[name].sum())]
    return weights, mask
