"""Data order: which examples a training step sees, a pure function of the order seed and the step."""

import hashlib

import torch

from .data import VIEWS

SPAN = {"cuda": 32}  # steps whose batches are made at once, so that a step only selects its own


def steps_per_epoch(ds, recipe):
    """Number of whole batches in the training set; a last incomplete one is dropped."""
    return len(ds.train_y) // recipe.batch_size


def epoch_order(ds, recipe, seed, epoch):
    """What ``ds.gather`` takes for an epoch's batches, each ``(steps, B)``: indices, and with augmentation views.

    Every epoch is a fresh permutation of the training set. It is drawn on the CPU, and so is the same on every device.
    """
    shape = steps_per_epoch(ds, recipe), recipe.batch_size
    indices = torch.randperm(len(ds.train_y), generator=_generator("order", seed, epoch))
    tables = [indices[: shape[0] * shape[1]].view(shape)]
    if ds.augment:
        generator = _generator("augment", seed, epoch)
        tables.append(torch.randint(VIEWS, shape, dtype=torch.uint8, generator=generator))
    return tables


def _generator(purpose, seed, epoch):
    """A random generator that depends on these alone."""
    digest = hashlib.sha256(f"{purpose}:{seed}:{epoch}".encode()).digest()
    return torch.Generator().manual_seed(int.from_bytes(digest[:8], "big") >> 1)
