"""Independent twins of what lotterylib computes, for one replicate at a time: plain modules, ``backward``,
``torch.optim`` and numpy, without ``torch.func`` and without a replicate axis."""

import dataclasses
import math

import numpy as np
import torch
from torch import nn
from torch.nn import functional as F

from lotterylib import order


def double(tree):
    """A state or a dataset in float64, so that rounding hides nothing."""
    if dataclasses.is_dataclass(tree):
        fields = {f.name: getattr(tree, f.name) for f in dataclasses.fields(tree)}
        return dataclasses.replace(tree, **double({n: v for n, v in fields.items() if torch.is_tensor(v)}))
    return {name: v.double() if v.is_floating_point() else v.clone() for name, v in tree.items()}


def part(state, r):
    """The state of one replicate, without the replicate axis."""
    return {name: tensor[r].clone() for name, tensor in state.items()}


def module(net, state, r=0):
    """A plain module with the weights and buffers of replicate ``r``."""
    made = net.make().to(state[net.parameters[0]].dtype)
    made.load_state_dict(part(state, r), strict=True)
    return made


def rates(recipe):
    """The learning rate of every step, from torch's own schedulers."""
    optimizer = torch.optim.SGD([torch.zeros(1, requires_grad=True)], lr=recipe.lr)
    make = {
        "cosine": lambda: torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, recipe.steps),
        "step": lambda: torch.optim.lr_scheduler.MultiStepLR(optimizer, list(recipe.drops), recipe.drop),
        "constant": lambda: torch.optim.lr_scheduler.LambdaLR(optimizer, lambda step: 1.0),
    }
    scheduler, found = make[recipe.schedule](), []
    for _ in range(recipe.steps):
        found.append(optimizer.param_groups[0]["lr"])
        optimizer.step()
        scheduler.step()
    return found


def sgd(model, ds, recipe, seed, mask=None, start=0, stop=None):
    """Train a plain module in place, on the data order of ``seed``; return the losses."""
    mask, losses = mask or {}, []
    optimizer = torch.optim.SGD(
        model.parameters(), lr=recipe.lr, momentum=recipe.momentum, weight_decay=recipe.weight_decay,
        nesterov=recipe.nesterov,
    )  # fmt: skip
    parameters = dict(model.named_parameters())

    def project():
        with torch.no_grad():
            for name, keep in mask.items():
                parameters[name][~keep] = 0

    project()
    model.train()
    stream = order.batches(ds, recipe, [seed], start)
    for rate in rates(recipe)[start:stop]:
        x, y = (part[0] for part in next(stream))
        optimizer.param_groups[0]["lr"] = rate
        optimizer.zero_grad()
        loss = F.cross_entropy(model(x.contiguous()), y)
        loss.backward()
        optimizer.step()
        project()
        losses.append(float(loss.detach()))
    return losses


@torch.no_grad()
def error(model, x, y):
    """Error rate of a plain module in evaluation mode."""
    guesses = model.eval()(x).argmax(1).tolist()
    return sum(guess != label for guess, label in zip(guesses, y.tolist(), strict=True)) / len(y)


@torch.no_grad()
def loss(model, x, y):
    """Mean cross-entropy of a plain module in evaluation mode."""
    model.eval()
    return float(nn.CrossEntropyLoss()(model(x).double(), y))


@torch.no_grad()
def recalibrated(model, ds, batch_size):
    """BatchNorm statistics of a plain module by name: the average over batches of what each batch alone gives."""
    model.train()
    norms = [m for m in model.modules() if isinstance(m, nn.modules.batchnorm._BatchNorm)]
    sums = {}
    full = len(ds.train_y) // batch_size
    for i in range(full):
        for m in norms:
            m.reset_running_stats()
            m.momentum = 1.0
        model(ds.gather(torch.arange(i * batch_size, (i + 1) * batch_size))[0])
        for name, buffer in model.named_buffers():
            if name.endswith(("running_mean", "running_var")):
                sums[name] = sums.get(name, 0) + buffer.clone() / full
    return sums


def prune(weights, mask, fraction):
    """Global magnitude pruning of one replicate by brute force: sort every kept weight, drop the smallest."""
    kept = [
        (abs(float(weights[name][index])), name, index)
        for name in mask
        for index in np.ndindex(*mask[name].shape)
        if mask[name][index]
    ]
    kept.sort(key=lambda entry: entry[0])
    pruned = {name: keep.clone() for name, keep in mask.items()}
    for _, name, index in kept[: math.ceil(fraction * len(kept))]:
        pruned[name][index] = False
    return pruned


def imp(net, ds, config, k, r):
    """Iterative magnitude pruning of one replicate, written out: the rewind point, and (state, mask) of each level."""
    seed, recipe = config.seed + r, config.recipe
    torch.manual_seed(seed)
    model = net.make()
    sgd(model, ds, recipe, seed, stop=k)
    rewind = {name: tensor.clone() for name, tensor in model.state_dict().items()}
    # the momentum carries over step k at level 0, so the dense training is one run from the start
    torch.manual_seed(seed)
    model = net.make()
    sgd(model, ds, recipe, seed)
    mask = {name: torch.ones_like(model.state_dict()[name], dtype=torch.bool) for name in net.prunable}
    dense = {name: tensor.clone() for name, tensor in model.state_dict().items()}
    levels = [(dense, mask)]
    for _ in range(config.levels):
        solution, mask = levels[-1]
        mask = prune(dense if config.pruning == "one_shot" else solution, mask, config.fraction)
        model.load_state_dict(rewind if config.rewinding == "weights" else solution)
        sgd(model, ds, recipe, seed, mask, start=k)
        levels.append(({name: tensor.clone() for name, tensor in model.state_dict().items()}, mask))
    return rewind, levels
