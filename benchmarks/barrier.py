"""Speed of the error barrier: lotterylib against the usual loop of ``load_state_dict`` and ``DataLoader``.

    python benchmarks/barrier.py

30 points on the line between two solutions of 4 replicates, error on the full test set, for cnn1d on MNIST-1D and
LeNet-300-100 on MNIST. Opponents, each evaluating one replicate at one point after the other:

- ``torchvision, 128``: the torchvision dataset with ToTensor and Normalize behind a DataLoader, batch 128: what one
  finds in most repositories, open_lth among them (MNIST only);
- ``DataLoader, 128`` and ``DataLoader, 2500``: a DataLoader on tensors that are normalised already;
- ``slices, 512``: no DataLoader at all, slices of the test tensor. It does the same arithmetic as lotterylib, so it
  shows what is overhead and what is not.

All must give the same curve before anything is timed.
"""

import os
import time
from pathlib import Path

import common
import torch
from torch.utils.data import DataLoader, TensorDataset

from lotterylib import data, landscape, networks, states, training

CASES = (("cnn1d", "mnist1d"), ("lenet_300_100", "mnist"))


class Slices:
    """Batches as slices of the test tensors."""

    def __init__(self, x, y, batch_size):
        self.batches = list(zip(x.split(batch_size), y.split(batch_size), strict=True))

    def __iter__(self):
        return iter(self.batches)


def torchvision_test_set(ds):
    """MNIST as torchvision gives it, normalised as ``ds`` is."""
    datasets = data.import_torchvision().datasets
    from torchvision import transforms

    root = os.environ.get("LOTTERYLIB_DATA") or Path.home() / ".cache" / "lotterylib"
    normalise = transforms.Normalize(ds.mean.tolist(), ds.std.tolist())
    return datasets.MNIST(root, train=False, transform=transforms.Compose([transforms.ToTensor(), normalise]))


@torch.no_grad()
def usual_loop(module, a, b, loader, points):
    """Error along the line, ``(points, R)``: one replicate and one point after the other."""
    curve = []
    for gamma in torch.linspace(0, 1, points, dtype=torch.float64).tolist():
        errors = []
        for r in range(states.replicates(a)):
            module.load_state_dict({n: torch.lerp(b[n][r], a[n][r], gamma) if a[n].is_floating_point() else a[n][r]
                                    for n in a})  # fmt: skip
            module.eval()
            wrong = total = 0
            for x, y in loader:
                wrong += (module(x).argmax(-1) != y).sum().item()
                total += len(y)
            errors.append(wrong / total)
        curve.append(errors)
    return torch.tensor(curve, dtype=torch.float64)


def measure(network, dataset, options):
    """Ratios of one network and dataset."""
    ds = data.load(dataset, device="cpu")
    net = networks.build(network, ds)
    start = net.init(options.replicates, seed=0)
    recipe = training.Recipe(steps=options.steps, lr=0.1, momentum=0.9)
    a, b = (training.train(net, start, ds, recipe, order_seed=seed) for seed in (1, 1001))
    module, x, y = net.make(), ds.test_x, ds.test_y
    tensors = TensorDataset(x, y)

    def ours():
        return landscape.error_barrier(net, a, b, x, y, options.points).curve

    loaders = {"DataLoader, 128": DataLoader(tensors, batch_size=128),
               "DataLoader, 2500": DataLoader(tensors, batch_size=2500),
               "slices, 512": Slices(x, y, 512)}  # fmt: skip
    if dataset == "mnist":
        loaders = {"torchvision, 128": DataLoader(torchvision_test_set(ds), batch_size=128), **loaders}
    sides = {"lotterylib": ours}
    sides |= {name: lambda it=it: usual_loop(module, a, b, it, options.points) for name, it in loaders.items()}
    curves = {name: side() for name, side in sides.items()}
    for name, curve in curves.items():  # rounding may turn the guess of an example on the edge
        off = (curve - curves["lotterylib"]).abs().max() * len(y)
        assert off < 2.5, f"{name} gives another curve: it differs by {off:.0f} of {len(y)} test examples"

    def seconds(side):
        begin = time.perf_counter()
        side()
        return time.perf_counter() - begin

    values = common.interleave({name: lambda s=side: seconds(s) for name, side in sides.items()}, options.rounds)
    curve = curves["lotterylib"]
    print(f"\n{network} on {dataset}: seconds for {options.points} points, {options.replicates} replicates, {len(y)} "
          f"examples; errors {float(curve.min()):.3f} to {float(curve.max()):.3f}")  # fmt: skip
    result = {"seconds": values}
    for name, found in values.items():
        line = f"  {name:18s} {common.text(common.spread(found), ' s')}"
        if name != "lotterylib":
            result[f"ratio to {name}"] = common.ratio(found, values["lotterylib"])
            line += f"   lotterylib is {common.text(result[f'ratio to {name}'], ' times')} as fast"
        print(line, flush=True)
    return result


def main():
    parser = common.arguments(__doc__.splitlines()[0], replicates=4, points=30, rounds=3, steps=150)
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    result = {f"{network} on {dataset}": measure(network, dataset, options) for network, dataset in CASES}
    result |= {"points": options.points, "replicates": options.replicates, "machine": common.machine()}
    print(result["machine"])
    common.save(options.save, result)


if __name__ == "__main__":
    main()
