"""IMP training speed on the CPU: lotterylib against open_lth, batch 128, masked.

    python benchmarks/imp_cpu.py --open-lth PATH_OF_A_CHECKOUT
    python benchmarks/imp_cpu.py --open-lth PATH_OF_A_CHECKOUT --network resnet20

LeNet-300-100 is trained on MNIST, ResNet-20 on random pictures of CIFAR-10's size, cropped and flipped by both sides.

Both sides train the same replicates with the same hyperparameters, mask and number of threads, in turn within one run.
Counted are replicate-steps per second between two training steps, start-up excluded. First it is checked that the two
do the same work: from the same weights and batches they must arrive at the same weights. benchmarks/README.md says how
open_lth is run and what was adapted; nothing in its checkout is changed.
"""

import os
import subprocess
import sys
import tempfile
import time
from dataclasses import replace
from pathlib import Path

import common
import numpy as np
import torch

from lotterylib import data, networks, order, pruning, states, training

# open_lth's name, untimed and timed steps of a training (timed: ours, open_lth's), rounds
CASES = {"lenet_300_100": ("mnist_lenet_300_100", 20, (400, 100), 11), "resnet20": ("cifar_resnet_20", 2, (10, 10), 5)}


class OpenLTH:
    """A checkout of open_lth, imported as it is."""

    def __init__(self, path, folder, network, momentum, weight_decay):
        if not (Path(path) / "open_lth.py").exists():
            raise SystemExit(f"--open-lth is {path}, which holds no open_lth.py; it must be a checkout of open_lth")
        data.import_torchvision()  # else torchvision fails to import beside a torch without CUDA
        if not hasattr(np, "product"):
            np.product = np.prod  # removed in numpy 2
        sys.path.insert(0, str(path))
        distributed = torch.nn.parallel.DistributedDataParallel
        torch.nn.parallel.DistributedDataParallel = type("Unused", (torch.nn.Module,), {})
        try:  # a class that open_lth derives from it has no method resolution order in a recent torch
            import datasets.registry
            import models.registry
            import platforms.local
            import platforms.platform
            from pruning.mask import Mask
            from pruning.pruned_model import PrunedModel
            from training.train import train
        finally:
            torch.nn.parallel.DistributedDataParallel = distributed
        self.datasets, self.models, self.platform = datasets.registry, models.registry, platforms.platform
        self.Mask, self.PrunedModel, self.run = Mask, PrunedModel, train
        self.folder, self.trainings = Path(folder), 0
        root = Path(os.environ.get("LOTTERYLIB_DATA") or Path.home() / ".cache" / "lotterylib")
        (self.folder / "mnist").symlink_to(root.resolve(), target_is_directory=True)
        name, self.warm_up, *_ = CASES[network]
        places = {"root": str(folder), "dataset_root": str(folder)}
        self.Platform = type("Platform", (platforms.local.Platform,), places)
        self.hparams = self.models.get_default_hparams(name)
        if momentum is not None:
            self.hparams.training_hparams.momentum = momentum
        if weight_decay is not None:
            self.hparams.training_hparams.weight_decay = weight_decay
        git = subprocess.run(["git", "-C", path, "rev-parse", "HEAD"], capture_output=True, text=True, check=False)
        self.commit = git.stdout.strip() or "unknown"

    def loader(self, workers, pictures=None):
        """Its own loader of its training set, or of these pictures, augmented as its CIFAR-10 is."""
        self.platform._PLATFORM = self.Platform(num_workers=workers)
        if pictures is None:
            return self.datasets.get(self.hparams.dataset_hparams, train=True)
        import torchvision
        from datasets import cifar10

        augment = [torchvision.transforms.RandomHorizontalFlip(), torchvision.transforms.RandomCrop(32, 4)]
        dataset = cifar10.Dataset(pictures.train_x.numpy(), pictures.train_y.numpy(), augment)
        return cifar10.DataLoader(dataset, self.hparams.dataset_hparams.batch_size, workers)

    def train(self, state, mask, replicate, loader, steps):
        """Train one replicate: its network after ``steps`` and the seconds that the steps after the warm-up took."""
        network = self.models.get(self.hparams.model_hparams).to(next(iter(state.values())).dtype)
        layers = dict(zip(self.order, network.state_dict(), strict=True))  # both layer by layer
        network.load_state_dict({layers[name]: tensor[replicate] for name, tensor in state.items()})
        pruned = self.PrunedModel(network, self.Mask({layers[name]: keep[replicate] for name, keep in mask.items()}))
        recipe = replace(self.hparams.training_hparams, training_steps=f"{steps}it", data_order_seed=replicate)
        times = {}

        def callback(output_location, step, model, optimizer, logger):
            times[step.iteration] = time.perf_counter()

        self.trainings += 1
        self.run(recipe, pruned, loader, str(self.folder / str(self.trainings)), callbacks=[callback])
        pruned._apply_mask()  # which it does at the beginning of the next step
        return network, times[steps] - times[min(steps, self.warm_up)]


class Batches:
    """A stand-in for open_lth's loader that gives lotterylib's batches of one replicate."""

    def __init__(self, ds, recipe, seed):
        self.ds, self.recipe, self.seed = ds, recipe, seed
        self.iterations_per_epoch = 10**6

    def shuffle(self, seed):
        pass

    def __iter__(self):
        for x, y in order.batches(self.ds, self.recipe, [self.seed]):
            yield x[0], y[0]


def same_work(ds, net, state, mask, recipe, theirs, loader, steps):
    """Check that both sides see the same inputs and, given the same batches, arrive at the same weights."""
    loader.shuffle(0)
    order = torch.randperm(len(ds.train_y), generator=torch.Generator().manual_seed(0))[: recipe.batch_size]
    examples, labels = next(iter(loader))
    x, y = ds.gather(order)
    assert torch.equal(y, labels) and x.shape == examples.shape
    if not ds.augment:  # else the crops differ, and so do its mean and standard deviation, which are ImageNet's
        torch.testing.assert_close(x, examples, atol=2e-3, rtol=0)  # it rounds the two to four digits
    # Weights are compared in float64: in float32 rounding soon flips a ReLU, and the two drift apart.
    state = {name: t.double() if t.is_floating_point() else t for name, t in state.items()}
    few = ds.gather(torch.arange(30 * recipe.batch_size))
    plain = {"mean": torch.tensor(0.0), "std": torch.tensor(1.0), "augment": False}
    ds = replace(ds, train_x=few[0].double(), train_y=few[1], **plain)
    ours, order = training.train(net, state, ds, recipe, mask, stop=steps, order_seed=0), theirs.order
    for r in range(states.replicates(state)):
        network, _ = theirs.train(state, mask, r, Batches(ds, recipe, r), steps)
        for name, other in zip(order, network.state_dict().values(), strict=True):
            torch.testing.assert_close(ours[name][r], other, atol=1e-9, rtol=1e-7)
            assert (other[~mask[name][r]] == 0).all() if name in mask else True
    print(f"same work: equal weights after {steps} masked steps from the same weights on the same batches", flush=True)


def main():
    parser = common.arguments(__doc__.splitlines()[0], replicates=4)
    parser.add_argument("--network", choices=CASES, default="lenet_300_100")
    parser.add_argument("--open-lth", required=True, metavar="PATH", help="a checkout of facebookresearch/open_lth")
    parser.add_argument("--rounds", type=int)
    parser.add_argument("--steps", type=int, nargs=2, metavar=("OURS", "THEIRS"), help="timed steps of a training")
    parser.add_argument("--workers", type=int, nargs="+", default=sorted({0, os.cpu_count()}), help="of its loader")
    parser.add_argument("--momentum", type=float, help="default: open_lth's for this network")
    parser.add_argument("--weight-decay", type=float, help="default: open_lth's for this network")
    parser.add_argument("--precision", choices=training.PRECISIONS, default="float32", help="of our side")
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    _, warm_up, steps, rounds = CASES[options.network]
    (our_steps, their_steps), rounds = options.steps or steps, options.rounds or rounds
    count = options.replicates

    pictures = common.cifar_sized() if options.network == "resnet20" else None
    ds = data.load("mnist", device="cpu") if pictures is None else pictures
    net = networks.build(options.network, ds)
    state = net.init(count, seed=0)
    mask = pruning.magnitude(state, pruning.full(net, state), fraction=0.5)
    state = pruning.apply(state, mask)

    with tempfile.TemporaryDirectory() as folder:
        theirs = OpenLTH(options.open_lth, folder, options.network, options.momentum, options.weight_decay)
        theirs.order, default = list(net.module.state_dict()), theirs.hparams.training_hparams
        recipe = training.Recipe(
            steps=10**6, batch_size=theirs.hparams.dataset_hparams.batch_size, lr=default.lr, schedule="constant",
            momentum=default.momentum or 0.0, weight_decay=default.weight_decay or 0.0,
        )  # fmt: skip
        loaders = {workers: theirs.loader(workers, pictures) for workers in options.workers}
        same_work(ds, net, state, mask, recipe, theirs, loaders[options.workers[0]], 5 if pictures else 50)
        recipe = replace(recipe, precision=options.precision)

        def ours():
            at, times = (warm_up, warm_up + our_steps), []
            for _ in training.trajectory(net, state, ds, recipe, mask, stop=at[-1], at=at):
                times.append(time.perf_counter())
            return count * our_steps / (times[1] - times[0])

        def open_lth(workers):
            theirs.platform._PLATFORM = theirs.Platform(num_workers=workers)
            timed = warm_up + their_steps
            seconds = sum(theirs.train(state, mask, r, loaders[workers], timed)[1] for r in range(count))
            return count * their_steps / seconds

        sides = {f"open_lth, {w} workers": lambda w=w: open_lth(w) for w in options.workers}
        values = common.interleave({"lotterylib": ours, **sides}, rounds)

    result = {
        "network": options.network, "precision": options.precision, "replicates": count, "momentum": default.momentum,
        "weight_decay": default.weight_decay, "open_lth": theirs.commit, "machine": common.machine(),
        "replicate_steps_per_second": values,
    }  # fmt: skip
    print(f"\nreplicate-steps per second, median (min–max) of {rounds} rounds, {count} replicates")
    for name, found in values.items():
        line = f"  {name:22s} {common.text(common.spread(found))}"
        if name != "lotterylib":
            result[f"ratio to {name}"] = common.ratio(values["lotterylib"], found)
            line += f"   lotterylib is {common.text(result[f'ratio to {name}'], ' times')} as fast"
        print(line)
    print(result["machine"])
    common.save(options.save, result)


if __name__ == "__main__":
    main()
