"""What gives the same bits and what does not, and what torch's deterministic mode costs: ``python determinism.py``.

Each line makes one training, its errors, a barrier and a Hessian product twice, the second time as the line says, for a
network of each kind: a perceptron whose replicates are stacked, the book's residual network in one dimension, and one
in two on augmented pictures. Another machine is played by a process that may not use this processor's vector units.
"""

import functools
import json
import operator
import os
import subprocess
import sys
import tempfile
import time

import common
import numpy as np
import torch

from lotterylib import curvature, data, landscape, networks, order, pruning, sgd, store, training
from lotterylib.states import select

STEPS, REPLICATES = 12, 4
NETWORKS = {"mlp": {"hidden": (64,)}, "resnet1d": {"width": 8}, "resnet8": {"width": 4}}
OLDER = {"ATEN_CPU_CAPABILITY": "default", "ONEDNN_MAX_CPU_ISA": "SSE41", "MKL_CBWR": "COMPATIBLE"}
ROWS = (
    "again in the same process", "in another process", "interrupted and taken up again", "two threads instead of one",
    "two threads instead of one, one replicate", "three replicates instead of four",
    "one replicate alone instead of among four", "in `bfloat16`, again", "under `torch.use_deterministic_algorithms`",
    "another processor", "another processor: order of the data, random masks",
    "another processor: initial weights, directions",
)  # fmt: skip


def dataset(name):
    """256 + 256 random examples: features, or pictures that are cropped and flipped."""
    rng, y = np.random.default_rng(0), np.arange(512) % 10
    x = rng.integers(0, 256, (512, 8, 8, 3), np.uint8) if name == "resnet8" else rng.normal(size=(512, 40))
    made = x if name == "resnet8" else x.astype(np.float32)
    return data.from_arrays(name, made[:256], y[:256], made[256:], y[256:], "cpu", augment=name == "resnet8")


def work(name, replicates=REPLICATES, precision="float32", checkpoint=None):
    """What a reader computes: the trained state, its errors, a barrier, a product with the Hessian. A state."""
    ds = dataset(name)
    net = networks.build(name, ds, **NETWORKS[name])
    recipe = training.Recipe(steps=STEPS, batch_size=64, lr=0.1, weight_decay=1e-3, precision=precision)
    start = net.init(replicates, seed=3)
    mask = pruning.magnitude(start, pruning.full(net, start), 0.3)
    state = training.train(net, start, ds, recipe, mask, order_seed=5, checkpoint=checkpoint)
    x, y = ds.training_set()
    vectors = torch.ones(replicates, 1, int(pruning.remaining(mask)[0]))
    return {
        **state, "error": landscape.error(net, state, ds.test_x, ds.test_y),
        "barrier": landscape.error_barrier(net, start, state, ds.test_x, ds.test_y, points=3).height,
        "product": curvature.hvp(net, state, x, y, vectors, mask),
    }  # fmt: skip


def drawn(name):
    """What is drawn at random: the order of the data and masks; and initial weights and directions. Two states."""
    ds = dataset(name)
    net = networks.build(name, ds, **NETWORKS[name])
    state = net.init(2, seed=3)
    mask = pruning.random(state, pruning.full(net, state), 0.5, seed=7)
    tables = order.epoch_order(ds, training.Recipe(steps=STEPS, batch_size=64), 5, 1)
    directions = pruning.noise(mask, 11, torch.randn)
    return {**mask, **dict(zip("12", tables, strict=False))}, {**state, **{f"to {n}": t for n, t in directions.items()}}


def threads(count, function, *arguments, **options):
    torch.set_num_threads(count)
    try:
        return function(*arguments, **options)
    finally:
        torch.set_num_threads(1)


def interrupted(name):
    """The work, stopped by Ctrl-C in the midst of an epoch, and called again."""
    kept, update = training.EVERY, sgd.Group.update

    def stopping(group):
        if group.begin + int(group.row) == STEPS // 2:
            raise KeyboardInterrupt
        update(group)

    with tempfile.TemporaryDirectory() as folder:
        training.EVERY, sgd.Group.update = 0, stopping
        try:
            work(name, checkpoint=folder)
        except KeyboardInterrupt:
            training.EVERY, sgd.Group.update = kept, update
            return work(name, checkpoint=folder)
    raise RuntimeError("the training was not interrupted")


def deterministic(function, *arguments):
    torch.use_deterministic_algorithms(True)
    try:
        return function(*arguments)
    finally:
        torch.use_deterministic_algorithms(False)


def elsewhere(**environment):
    """Digests of all networks' work and draws, from a process of its own."""
    command = [sys.executable, __file__, "--digests"]
    told = subprocess.run(command, env={**os.environ, **environment}, capture_output=True, text=True, check=True)
    return json.loads(told.stdout.splitlines()[-1])


def digests():
    return {name: [store.digest(state) for state in (work(name), *drawn(name))] for name in NETWORKS}


def first(state, count):
    return select(state, list(range(count)))


def compared(a, b):
    """Which bits of two states are the same, in words."""
    other = {name for name in a if not torch.equal(a[name], b[name])}
    return "same" if not other else "all but the product" if other == {"product"} else "differ"


def measured(name, other, older):
    """Which bits of a network are the same, in words, in the order of ``ROWS``."""
    usual, one = work(name), work(name, 1)
    mine = [store.digest(state) for state in (usual, *drawn(name))]
    return [
        compared(usual, work(name)), told(mine == other[name]), compared(usual, interrupted(name)),
        compared(usual, threads(2, work, name)), compared(one, threads(2, work, name, 1)),
        compared(work(name, 3), first(usual, 3)), compared(one, first(usual, 1)),
        compared(work(name, precision="bfloat16"), work(name, precision="bfloat16")),
        compared(usual, deterministic(work, name)), *map(told, map(operator.eq, mine, older[name])),
    ]  # fmt: skip


def told(same):
    return "same" if same else "differ"


def main():
    parser = common.arguments(__doc__, rounds=5)
    parser.add_argument("--digests", action="store_true", help="print the digests of the work, and end")
    options = parser.parse_args()
    torch.set_num_threads(1)
    if options.digests:
        return print(json.dumps(digests()))
    other, older = elsewhere(), elsewhere(**OLDER)
    columns = {name: measured(name, other, older) for name in NETWORKS}
    print(f"| the same call | {' | '.join(f'`{name}`' for name in NETWORKS)} |\n|---|{'---|' * len(NETWORKS)}")
    for i, row in enumerate(ROWS):
        print(f"| {row} | {' | '.join(columns[name][i] for name in NETWORKS)} |")
    result = {"same bits": {row: {name: columns[name][i] for name in NETWORKS} for i, row in enumerate(ROWS)}}
    for name in NETWORKS:
        sides = {"usual": (work, name), "deterministic": (deterministic, work, name)}
        calls = {side: functools.partial(timed, *call) for side, call in sides.items()}
        times = common.interleave(calls, options.rounds)
        result[f"price, {name}"] = common.ratio(times["deterministic"], times["usual"])
        print(f"deterministic mode, {name}: {common.text(result[f'price, {name}'], ' times')} the time")
    common.save(options.save, {**result, "machine": common.machine()})


def timed(function, *arguments):
    """Seconds of the processor, which a busy machine stretches less than the clock's."""
    begin = time.process_time()
    function(*arguments)
    return time.process_time() - begin


if __name__ == "__main__":
    main()
