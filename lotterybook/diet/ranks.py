"""How well two rankings agree, and how well one finds what is marked."""

import torch


def correlation(a, b) -> torch.Tensor:
    """Spearman's rank correlation of two scores ``(N,)``, or of rows ``(..., N)``, float64 ``(...)``.

    Equal scores are ranked by their place, so that a score without differences correlates as its places do.
    """
    a, b = (_ranks(values) - (values.shape[-1] - 1) / 2 for values in (a, b))
    return (a * b).sum(-1) / (a.square().sum(-1) * b.square().sum(-1)).sqrt()


def auc(score, marked) -> torch.Tensor:
    """How often a marked example has a higher score than another, float64 ``(...)``: 1 if always, 1/2 by chance.

    ``score`` ``(..., N)``; ``marked``: indices of the marked ones. It is the area under the ROC curve.
    """
    count, ranks = len(marked), _ranks(score)
    above = ranks[..., marked].sum(-1) - count * (count - 1) / 2
    return above / (count * (score.shape[-1] - count))


def precision(score, marked) -> torch.Tensor:
    """Share of the marked examples among as many that have the highest scores, float64 ``(...)``."""
    top = score.topk(len(marked), -1).indices
    return torch.isin(top, marked).double().mean(-1)


def _ranks(values):
    return values.argsort(dim=-1, stable=True).argsort(dim=-1).double()
