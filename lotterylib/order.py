"""Data order: which examples a training step sees, a pure function of the order seed and the step."""

import hashlib

import torch

from .data import VIEWS


def steps_per_epoch(ds, recipe):
    """Number of whole batches in the training set; a last incomplete one is dropped."""
    return len(ds.train_y) // recipe.batch_size


def epoch_order(ds, recipe, seed, epoch):
    """The examples of an epoch's batches ``(steps, B)``, and how each is seen (``None`` without augmentation).

    Both are drawn on the CPU, and so are the same on every device.
    """
    steps, size = steps_per_epoch(ds, recipe), recipe.batch_size
    indices = torch.randperm(len(ds.train_y), generator=_generator("order", seed, epoch))[: steps * size]
    if not ds.augment:
        return indices.view(steps, size), None
    generator = _generator("augment", seed, epoch)
    return indices.view(steps, size), torch.randint(VIEWS, (steps, size), dtype=torch.uint8, generator=generator)


def batches(ds, recipe, seeds, begin=0):
    """Yield the batches of steps ``begin``, ``begin + 1``, ... for replicates with these order seeds.

    Each batch is ``x`` of shape ``(R, B, ...)`` and ``y`` of shape ``(R, B)``. Every epoch is a fresh permutation of
    the training set; a last incomplete batch is dropped.
    """
    epoch, offset = divmod(begin, steps_per_epoch(ds, recipe))
    while True:
        orders = [epoch_order(ds, recipe, seed, epoch) for seed in seeds]
        for step in range(offset, len(orders[0][0])):
            parts = [
                ds.gather(*(None if table is None else table[step].to(ds.device) for table in order))
                for order in orders
            ]
            yield tuple(torch.stack(part) for part in zip(*parts, strict=True))
        epoch, offset = epoch + 1, 0


def _generator(purpose, *numbers):
    """A random generator that depends on its purpose and numbers alone."""
    name = ":".join(map(str, (purpose, *numbers)))
    seed = int.from_bytes(hashlib.sha256(name.encode()).digest()[:8], "big") >> 1
    return torch.Generator().manual_seed(seed)
