"""IMP in plain PyTorch, as chapter 1 writes it: the cells themselves, run here, do what the library does."""

import ast
import copy
import json
import math
from pathlib import Path

import pytest
import torch
from torch import nn
from torch.nn import functional as F

from lotterylib import architectures, imp, networks, order, training

CHAPTER = Path(__file__).resolve().parent.parent / "chapters" / "01_winning_tickets.ipynb"
WRITTEN = ("conv", "Block", "resnet", "batch", "apply", "train", "prune", "test_error")  # in plain PyTorch
STEPS, STEP, LEVELS = 15, 4, 2  # few: rounding grows by each


def cells():
    """The cells that define what is ``WRITTEN``, and the loop, in their order."""
    every = json.loads(CHAPTER.read_text())["cells"]
    code = ["".join(cell["source"]) for cell in every if cell["cell_type"] == "code"]
    defines = [text for text in code if any(f"{kind} {name}(" in text for kind in ("def", "class") for name in WRITTEN)]
    return defines, next(text for text in code if "for level in range" in text)


@pytest.fixture(scope="module")
def by_hand(mnist1d):
    """What the cells define and compute, in a training of a few steps of the small network."""
    defines, loop = cells()
    space = {"copy": copy, "math": math, "torch": torch, "nn": nn, "F": F, "order": order, "training": training}
    space |= {"ds": mnist1d, "preset": "smoke"}
    recipe = training.Recipe(STEPS, lr=0.3, momentum=0.9, weight_decay=5e-4)
    for text in defines:
        exec(text, space)
        space |= {"recipe": recipe, "steps": STEPS, "k": STEP, "levels": LEVELS}
    exec(loop, space)
    return space


def test_imp_by_hand_is_imp_of_the_library(by_hand, mnist1d):
    """Solution, mask and error of the last level: from the same seed, and the same batches in the same order."""
    net = networks.wrap(by_hand["resnet"])
    config = imp.Config(by_hand["recipe"], rewind_step=STEP, levels=LEVELS, replicates=1, seed=0)
    run = imp.run(net, mnist1d, config)
    rewind = {name: tensor[0] for name, tensor in run.rewind.items()}
    torch.testing.assert_close(by_hand["w_k"], rewind, rtol=0, atol=1e-5)
    assert all(torch.equal(keep, run[LEVELS].mask[name][0]) for name, keep in by_hand["mask"].items())
    found = by_hand["model"].state_dict()
    torch.testing.assert_close(found, {n: t[0] for n, t in run[LEVELS].state.items()}, rtol=0, atol=1e-3)
    assert by_hand["test_error"](by_hand["model"]) == pytest.approx(float(run[LEVELS].error), abs=0.002)
    trained, begun = found["9.weight"], run.rewind["9.weight"][0]
    assert (trained - begun).abs().max() > 0.05, "the test's own premise: something was trained"


def test_the_network_by_hand_is_the_testbed(by_hand, mnist1d):
    """Layer by layer, and in its logits: kernels of the library have their inputs last."""
    theirs = architectures.module("resnet1d", (40,), 10, width=8)
    own = by_hand["resnet"]()
    pairs = list(zip(own.state_dict().items(), theirs.state_dict().items(), strict=True))
    assert all(("running" in one) == ("running" in other) for (one, _), (other, _) in pairs)
    own.load_state_dict({one: t.mT if t.dim() == 3 else t for (one, _), (_, t) in pairs})
    x = mnist1d.test_x[:20]
    torch.testing.assert_close(own.train()(x), theirs.train()(x))
    torch.testing.assert_close(own.eval()(x), theirs.eval()(x))


def test_by_hand_is_plain_pytorch():
    """Of the library the cells use the data, their order and the numbers of the recipe, and the loop is short."""
    defines, loop = cells()
    used = {node.id for text in (*defines, loop) for node in ast.walk(ast.parse(text)) if isinstance(node, ast.Name)}
    assert used & {"imp", "pruning", "landscape", "networks", "lotterylib", "experiments"} == set()
    (train,) = (text for text in defines if "def train(" in text)
    (prune,) = (ast.get_source_segment(text, node) for text in defines
                for node in ast.parse(text).body if getattr(node, "name", "") == "prune")  # fmt: skip
    short = loop[loop.index("for level") :]
    assert sum(len(part.splitlines()) for part in (train, prune, short)) < 30
