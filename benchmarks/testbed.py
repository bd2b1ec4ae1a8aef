"""Training speed of the book's network on the CPU: lotterylib's stacked replicates against a plain module.

    python benchmarks/testbed.py

The other side is the same network of ``nn.Conv1d`` and ``nn.BatchNorm1d``, trained by ``loss.backward()`` and
``torch.optim.SGD``, one replicate after the other, with as many threads. Before anything is timed both must arrive at
the same weights from the same weights and batches.
"""

import sys
import time
from pathlib import Path

import common
import torch
from torch.nn import functional as F

from lotterylib import data, networks, order, training

sys.path.insert(0, str(Path(__file__).resolve().parent.parent / "tests"))
import plain  # noqa: E402

STEPS, WARM_UP = 60, 10
RECIPE = training.Recipe(steps=1500, batch_size=128, lr=0.3, momentum=0.9, weight_decay=5e-4)


def replicate(net, state, r):
    """One replicate as a plain module, in training mode."""
    return plain.network(net.state_dict(state, r)).train()


def train_plain(module, ds, seed, stop):
    """Train one plain module; return the seconds after the first ``WARM_UP`` steps."""
    optimizer = torch.optim.SGD(module.parameters(), RECIPE.lr, RECIPE.momentum, weight_decay=RECIPE.weight_decay)
    schedule = torch.optim.lr_scheduler.LambdaLR(optimizer, lambda t: RECIPE.lr_at(t) / RECIPE.lr)
    per_epoch = order.steps_per_epoch(ds, RECIPE)
    for t in range(stop):
        if t == min(WARM_UP, stop - 1):
            begin = time.perf_counter()
        if t % per_epoch == 0:
            rows = order.epoch_order(ds, RECIPE, seed, t // per_epoch)[0]
        x, y = ds.gather(rows[t % per_epoch])
        x = x.to(module.linear.weight.dtype)
        optimizer.zero_grad()
        F.cross_entropy(module(x), y).backward()
        optimizer.step()
        schedule.step()
    return time.perf_counter() - begin


def main():
    """Check that both sides do the same work, then time them in turn."""
    parser = common.arguments(__doc__.splitlines()[0], replicates=8, rounds=5)
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    ds = data.load("mnist1d", "cpu")
    net, count = networks.build("resnet1d", ds), options.replicates
    start = net.init(count)
    double = {name: t.double() if t.is_floating_point() else t for name, t in start.items()}
    ended = replicate(net, training.train(net, double, ds, RECIPE, stop=5, order_seed=0), 0)
    other = replicate(net, double, 0)
    train_plain(other, ds, 0, 5)
    pairs = zip(other.state_dict().values(), ended.state_dict().values(), strict=True)
    if not all(torch.allclose(a, b, rtol=1e-8, atol=1e-8) for a, b in pairs):
        raise SystemExit("the two sides do not end at the same weights after five steps")

    def ours():
        training.train(net, start, ds, RECIPE, stop=WARM_UP)
        begin = time.perf_counter()
        training.train(net, start, ds, RECIPE, stop=WARM_UP + STEPS)
        return count * (WARM_UP + STEPS) / (time.perf_counter() - begin)

    def theirs():
        modules = [replicate(net, start, r) for r in range(count)]
        return count * STEPS / sum(train_plain(m, ds, r, WARM_UP + STEPS) for r, m in enumerate(modules))

    rates = common.interleave({"lotterylib": ours, "plain module": theirs}, options.rounds)
    found = {name: common.spread(values) for name, values in rates.items()}
    found["ratio"] = common.ratio(rates["lotterylib"], rates["plain module"])
    print({name: common.text(value) for name, value in found.items()})
    common.save(options.save, {"machine": common.machine(), "replicates": count, **found})


if __name__ == "__main__":
    main()
