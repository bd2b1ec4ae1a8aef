"""Records of chapter 6 as an experiment would give them, made up: what its rules and figures are tried on."""

import torch

STEPS = (10, 25, 75, 400, 1500)
COUNT = 400  # training examples
DENSITY = torch.tensor([0.8**level for level in range(9)], dtype=torch.float64)
STARTS = (
    (25, "easiest", 0.05), (25, "random", 0.05), (25, "hardest", 0.05), (75, "easiest", 0.05), (75, "random", 0.05),
    (75, "random", 0.25), (75, "hardest", 0.05),
)  # fmt: skip
ORDERS = ("easiest", "random", "hardest")


def replicated(*values, spread=0.0005):
    """Values with an axis of four replicates, of exactly these means."""
    return torch.tensor(values, dtype=torch.float64)[..., None] + spread * torch.tensor([-1.5, -0.5, 0.5, 1.5])


def scores(auc=0.95):
    draw = torch.Generator().manual_seed(0)
    score = torch.rand(len(STEPS), COUNT, generator=draw).sort(1).values
    steps = torch.linspace(0.6, 0.9, len(STEPS), dtype=torch.float64)
    wrong = torch.arange(0, COUNT, 20)
    mislabelled = score.flip(1).clone()
    mislabelled[:, wrong] = 1.2
    return {
        "step": torch.tensor(STEPS), "score_step": torch.tensor(75), "score": score, "mislabelled": mislabelled,
        "wrong": wrong, "spread": torch.rand(COUNT, generator=draw), "other": score[2] + 0.01,
        "halves": steps[:, None] + torch.linspace(-0.01, 0.01, 10), "single": steps[:, None] - torch.rand(5) / 10,
        "between": torch.eye(len(STEPS), dtype=torch.float64) * 0.3 + 0.7, "auc": torch.full_like(steps, auc),
        "auc_single": steps[:, None] - torch.rand(5) / 10,
        "precision": steps, "precision_single": replicated(*steps - 0.2),
        "classes": torch.tensor([[9, 0, 0, 8, 0, 0, 3, 0, 0, 0], [0, 3, 3, 0, 6, 2, 1, 2, 0, 3]]),
    }  # fmt: skip


def early(**gaps):
    """All examples: dense 1.5 %, from step 75 it matches down to level 6, from step 25 to level 4.

    ``gaps``: how much more a start errs than all examples at step 75, at all levels, by names such as ``easiest_5_25``.
    """
    late = [0.015] * 7 + [0.03, 0.05]
    soon = [0.015] * 5 + [0.025, 0.035, 0.06, 0.09]
    usual = {"easiest": 0.002, "random": 0.001, "hardest": 0.02}
    error = torch.stack([
        replicated(*late) + gaps.get(f"{order}_{round(100 * share)}_{step}", usual[order] + 0.01 * (step == 25))
        for step, order, share in STARTS
    ])  # fmt: skip
    steps, orders, shares = zip(*STARTS, strict=True)
    return {
        "error": error, "barrier": 2 * (error[:, 1:] - 0.015).clamp_min(0), "density": DENSITY,
        "all_error": torch.stack([replicated(*soon), replicated(*late)]), "all_step": torch.tensor([25, 75]),
        "all_barrier": torch.stack([replicated(*soon), replicated(*late)])[:, 1:] - 0.01,
        "rewind_step": torch.tensor(steps), "order": torch.tensor([ORDERS.index(order) for order in orders]),
        "share": torch.tensor(shares, dtype=torch.float64),
        "examples": torch.tensor([round(COUNT * share) for share in shares]),
    }  # fmt: skip


def pruned(hard=(0.09, 0.03, 0.008), easy=(0.07, 0.04, 0.02)):
    """Sets of 100, 400 and 1,600, of which a quarter and a half are kept; errors at a quarter, by size."""
    chance, full = torch.tensor([0.06, 0.035, 0.015]), replicated(0.04, 0.02, 0.006)
    quarter = torch.stack([torch.tensor(easy), chance, torch.tensor(hard)], 1).double()  # (sizes, orders)
    error = torch.stack([quarter, (quarter + full.mean(-1)[:, None]) / 2], 2)
    return {
        "size": torch.tensor([100, 400, 1600]), "share": torch.tensor([0.25, 0.5], dtype=torch.float64), "full": full,
        "examples": torch.tensor([[25, 50], [100, 200], [400, 800]]), "error": replicated(*error.tolist()),
    }  # fmt: skip


def fed(worse=0.02):
    """On all examples it matches down to level 6; on fewer each dense network errs more by ``worse``, once or twice."""
    whole = [0.015] * 7 + [0.03, 0.05]
    error = torch.stack([replicated(*whole) + 2 * worse, replicated(*whole) + worse])[None].repeat(2, 1, 1, 1)
    return {
        "error": error, "barrier": 2 * (error[:, :, 1:] - error[:, :, :1]).clamp_min(0), "density": DENSITY,
        "all_error": replicated(*whole), "all_barrier": replicated(*whole)[1:] - 0.013,
        "order": torch.tensor([1, 2]), "share": torch.tensor([0.25, 0.5], dtype=torch.float64),
        "examples": torch.tensor([100, 200]),
    }  # fmt: skip


def curved(more=0.1):
    """The dense network on all examples may lose .6 at random, .7 by magnitude; on a half and a quarter ``more``."""
    predicted = torch.tensor([[0.7, 0.6], [0.7, 0.6]], dtype=torch.float64)  # (shares, magnitude and random)
    predicted = predicted + more * torch.tensor([[2.0], [1.0]])
    return {
        "predicted": replicated(*[[predicted[:, :, None].tolist()]] * 2)[:, 0], "level": torch.tensor([0]),
        "all_predicted": replicated([0.7], [0.6]), "largest": replicated(*[[[5.0], [6.0]]] * 2),
        "all_largest": replicated(7.0), "loss": replicated(*[[[0.1], [0.1]]] * 2), "all_loss": replicated(0.1),
        "order": torch.tensor([1, 2]), "share": torch.tensor([0.25, 0.5], dtype=torch.float64),
        "density": torch.ones(1, dtype=torch.float64),
    }  # fmt: skip
