"""Training speed of the book's network on the CPU: lotterylib's stacked replicates against a plain module.

    python benchmarks/testbed.py

The other side is the same network of ``nn.Conv1d`` and ``nn.BatchNorm1d``, trained by ``loss.backward()`` and
``torch.optim.SGD``, one replicate after the other, with as many threads. Before anything is timed both must arrive at
the same weights from the same weights and batches.
"""

import time

import common
import torch
from torch import nn
from torch.nn import functional as F

from lotterylib import data, networks, order, training

STEPS, WARM_UP = 60, 10
RECIPE = training.Recipe(steps=1500, batch_size=128, lr=0.3, momentum=0.9, weight_decay=5e-4)


class Block(nn.Module):
    """A residual block, channels first."""

    def __init__(self, width, stride):
        super().__init__()
        self.conv1, self.norm1 = nn.Conv1d(width, width, 3, stride, 1, bias=False), nn.BatchNorm1d(width)
        self.conv2, self.norm2 = nn.Conv1d(width, width, 3, 1, 1, bias=False), nn.BatchNorm1d(width)
        self.shortcut = nn.Sequential()
        if stride != 1:
            self.shortcut = nn.Sequential(nn.Conv1d(width, width, 1, stride, bias=False), nn.BatchNorm1d(width))

    def forward(self, x):
        inner = F.relu(self.norm1(self.conv1(x)))
        return F.relu(self.norm2(self.conv2(inner)) + self.shortcut(x))


class Plain(nn.Module):
    """The book's network, channels first; entries have the names that they have in lotterylib."""

    def __init__(self, width=24):
        super().__init__()
        self.stem = nn.Sequential(nn.Conv1d(1, width, 5, 2, 2, bias=False), nn.BatchNorm1d(width))
        self.blocks = nn.Sequential(*(Block(width, stride) for stride in (1, 2, 2)))
        self.linear = nn.Linear(width, 10)

    def forward(self, x):
        return self.linear(self.blocks(F.relu(self.stem(x[:, None]))).mean(2))

    def take(self, entries):
        """Take over the entries of one replicate; a convolution's weights lie in another order here."""
        self.load_state_dict({name: t.mT if t.dim() == 3 else t for name, t in entries.items()})
        return self


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
    ended = Plain().double().take(net.state_dict(training.train(net, double, ds, RECIPE, stop=5, order_seed=0), 0))
    plain = Plain().double().take(net.state_dict(double, 0)).train()
    train_plain(plain, ds, 0, 5)
    pairs = zip(plain.state_dict().values(), ended.state_dict().values(), strict=True)
    if not all(torch.allclose(a, b, rtol=1e-8, atol=1e-8) for a, b in pairs):
        raise SystemExit("the two sides do not end at the same weights after five steps")

    def ours():
        training.train(net, start, ds, RECIPE, stop=WARM_UP)
        begin = time.perf_counter()
        training.train(net, start, ds, RECIPE, stop=WARM_UP + STEPS)
        return count * (WARM_UP + STEPS) / (time.perf_counter() - begin)

    def theirs():
        modules = [Plain().take(net.state_dict(start, r)).train() for r in range(count)]
        return count * STEPS / sum(train_plain(m, ds, r, WARM_UP + STEPS) for r, m in enumerate(modules))

    rates = common.interleave({"lotterylib": ours, "plain module": theirs}, options.rounds)
    found = {name: common.spread(values) for name, values in rates.items()}
    found["ratio"] = common.ratio(rates["lotterylib"], rates["plain module"])
    print({name: common.text(value) for name, value in found.items()})
    common.save(options.save, {"machine": common.machine(), "replicates": count, **found})


if __name__ == "__main__":
    main()
