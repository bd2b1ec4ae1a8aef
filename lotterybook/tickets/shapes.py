"""The shapes of MNIST-1D: where the template of a digit lies in its examples."""

import numpy as np
import torch

SHOWN = 2  # examples of each digit
_WIDTHS = range(9, 25)  # positions that a template may be stretched to


def fitted(examples, label):
    """The ``SHOWN`` of some examples (n, 40) of a digit that its template fits best, each with the template there.

    Gives pairs of curves (40,). The template is moved and stretched to every place, and for each scaled, tilted and
    lifted by least squares: what the makers of the data do to it, but for the noise.
    """
    from mnist1d.data import get_templates

    count, template = examples.shape[1], get_templates()["x"][label]
    position, best = torch.linspace(-1, 1, count), []
    for width in _WIDTHS:
        for start in range(count - width + 1):
            shape = np.interp(np.arange(count), start + np.linspace(0, width - 1, len(template)), template, 0, 0)
            columns = torch.stack([torch.as_tensor(shape, dtype=torch.float32), position, torch.ones(count)], 1)
            best.append(examples @ torch.linalg.pinv(columns).T @ columns.T)
    fits = torch.stack(best)  # (places, n, 40)
    missed = ((fits - examples) ** 2).sum(-1) / ((examples - examples.mean(1, keepdim=True)) ** 2).sum(-1)
    least, place = missed.min(0)
    return [(examples[i], fits[place[i], i]) for i in least.argsort()[:SHOWN].tolist()]
