"""Peak memory of IMP on MNIST-1D with 16 stacked replicates, barriers included.

    python benchmarks/memory.py

The peak is the process's largest resident set, so what Python, torch and the data take is in it.
"""

import resource
import sys

import common
import torch

from lotterylib import data, imp, landscape, networks, training


def peak():
    """Largest resident set of this process so far, in bytes."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * (1 if sys.platform == "darwin" else 1024)


def main():
    parser = common.arguments(__doc__.splitlines()[0], replicates=16, steps=100, levels=12)
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    result = {"imports": peak()}
    ds = data.load("mnist1d", device="cpu")
    net = networks.build("cnn1d", ds)
    result["dataset"] = peak()
    recipe = training.Recipe(steps=options.steps, lr=0.3, momentum=0.9, weight_decay=5e-4)
    config = imp.Config(recipe, rewind_step=options.steps // 10, levels=options.levels, replicates=options.replicates)
    run = imp.run(net, ds, config)
    result["IMP"] = peak()
    landscape.error_barrier(net, run[0].state, run[1].state, ds.test_x, ds.test_y, points=30)
    result["barrier"] = peak()
    print(f"peak resident set after each stage, cnn1d on mnist1d, {options.replicates} stacked replicates")
    for stage, found in result.items():
        print(f"  {stage:8s} {found / 1e9:.2f} GB")
    result |= {"replicates": options.replicates, "levels": options.levels, "machine": common.machine()}
    print(result["machine"])
    common.save(options.save, result)


if __name__ == "__main__":
    main()
