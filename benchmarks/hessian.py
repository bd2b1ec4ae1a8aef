"""Hessian spectrum by stochastic Lanczos quadrature: lotterylib against PyHessian.

    python benchmarks/hessian.py --pyhessian PATH_OF_A_CHECKOUT

cnn1d after a short training on MNIST-1D, the loss on 4,000 examples, all prunable weights, equally many probes and
iterations, float32. Opponents, each with a probe of its own at a time:

- ``PyHessian, batches``: a list of batches, as its example does for a full data set;
- ``PyHessian, one batch``: all examples at once, whose graph it keeps and differentiates again for every product.

``lotterylib`` runs a second time with a quarter of the probes: how fast it is at a distance that is no larger.
Both sides first give the same Hessian-vector products. Reported are the ratio of times, round by round, and the
Wasserstein-1 distance of every spectrum from the exact one: of the point masses, and smoothed by the same Gaussian.
PyHessian is imported as it is; benchmarks/README.md says which commit.
"""

import subprocess
import sys
import time
import warnings
from pathlib import Path

import common
import torch

from lotterylib import curvature, data, networks, pruning, training


def distance(values, shares, exact):
    """Wasserstein-1 distance of point masses from the exact eigenvalues, which weigh alike."""
    positions = torch.cat([values, exact])
    masses = torch.cat([shares, torch.full_like(exact, -1 / len(exact))])
    order = positions.argsort()
    return float(masses[order].cumsum(0)[:-1].abs() @ positions[order].diff())


def smoothed(values, shares, exact, width):
    """Wasserstein-1 distance of the two densities smoothed by Gaussians of standard deviation ``width``."""
    low, high = min(values.min(), exact.min()) - 5 * width, max(values.max(), exact.max()) + 5 * width
    grid = torch.linspace(float(low), float(high), 4000, dtype=torch.float64)
    uniform = torch.full_like(exact, 1 / len(exact))
    ours, theirs = (
        weights @ torch.distributions.Normal(at[:, None], width).cdf(grid)
        for at, weights in ((values, shares), (exact, uniform))
    )
    return float(torch.trapezoid((ours - theirs).abs(), grid))


class PyHessian:
    """A checkout of PyHessian on the prunable weights of one network."""

    def __init__(self, path, net, state, x, y, batch_size):
        if not (Path(path) / "pyhessian" / "hessian.py").exists():
            raise SystemExit(f"--pyhessian is {path}, which holds no pyhessian; it must be a checkout of PyHessian")
        sys.path.insert(0, str(path))
        from pyhessian import hessian

        module = net.make()
        module.load_state_dict({name: tensor[0] for name, tensor in state.items()})
        for name, parameter in module.named_parameters():
            parameter.requires_grad_(name in net.prunable)
        warnings.filterwarnings("ignore", message="Using backward.. with create_graph=True")
        loss, batches = torch.nn.CrossEntropyLoss(), list(zip(x.split(batch_size), y.split(batch_size), strict=True))
        self.make = {
            "PyHessian, batches": lambda: hessian(module, loss, dataloader=batches, cuda=False),
            "PyHessian, one batch": lambda: hessian(module, loss, data=(x, y), cuda=False),
        }

    def product(self, vector):
        """Hessian times a flat vector."""
        found = self.make["PyHessian, batches"]()
        parts = vector.split([parameter.numel() for parameter in found.params])
        parts = [part.view_as(parameter) for part, parameter in zip(parts, found.params, strict=True)]
        return torch.cat([part.flatten() for part in found.dataloader_hv_product(parts)[1]])

    def spectrum(self, name, probes, iterations, seed):
        """Its density estimate as point masses, all probes together."""
        torch.manual_seed(seed)
        values, shares = self.make[name]().density(iter=iterations, n_v=probes)
        shares = torch.tensor(shares).real  # of a real symmetric matrix, which it treats as any matrix
        return torch.tensor(values).double().flatten(), shares.double().flatten() / probes


def main():
    parser = common.arguments(__doc__.splitlines()[0], rounds=3, steps=300, probes=8, iterations=80, batch=200)
    parser.add_argument("--pyhessian", required=True, metavar="PATH", help="a checkout of amirgholami/PyHessian")
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    ds = data.load("mnist1d", device="cpu")
    net = networks.build("cnn1d", ds)
    recipe = training.Recipe(steps=options.steps, lr=0.3, momentum=0.9, weight_decay=5e-4)
    state = training.train(net, net.init(1, seed=0), ds, recipe)
    x, y = ds.gather(torch.arange(4000))
    theirs = PyHessian(options.pyhessian, net, state, x, y, options.batch)

    size = curvature.weights(state, pruning.full(net, state)).shape[1]
    vector = torch.randn(size, generator=torch.Generator().manual_seed(0))
    mine = curvature.hvp(net, state, x, y, vector[None, None])[0, 0]
    torch.testing.assert_close(mine, theirs.product(vector), rtol=1e-3, atol=1e-4 * float(mine.abs().max()))
    print("same work: equal Hessian-vector products", flush=True)
    begin = time.perf_counter()
    exact = torch.linalg.eigvalsh(curvature.hessian(net, state, x, y)[0].double())
    print(f"exact spectrum of {size} weights in {time.perf_counter() - begin:.0f} s: "
          f"{float(exact[0]):.3g} to {float(exact[-1]):.3g}", flush=True)  # fmt: skip

    width, found = float(exact[-1]) / 100, {}
    counts = {"probes": options.probes, "iterations": options.iterations}

    def ours(seed, probes=options.probes):
        return curvature.spectrum(net, state, x, y, None, probes, options.iterations, seed=1000 * seed).nodes(0)

    def timed(name, make):
        rounds = found.setdefault(name, [])
        begin = time.perf_counter()
        values, shares = make(len(rounds))
        seconds = time.perf_counter() - begin
        rounds.append((distance(values, shares, exact), smoothed(values, shares, exact, width)))
        return seconds

    few = max(2, options.probes // 4)
    sides = {"lotterylib": ours, f"lotterylib, {few} probes": lambda seed: ours(seed, few)}
    sides |= {name: lambda seed, name=name: theirs.spectrum(name, **counts, seed=seed) for name in theirs.make}
    values = common.interleave({n: lambda n=n, s=side: timed(n, s) for n, side in sides.items()}, options.rounds)

    commit = subprocess.run(["git", "-C", options.pyhessian, "rev-parse", "HEAD"], capture_output=True, text=True)
    result = {
        **counts, "weights": size, "examples": len(y), "batch": options.batch, "pyhessian": commit.stdout.strip(),
        "machine": common.machine(), "seconds": values, "largest eigenvalue": float(exact[-1]),
    }  # fmt: skip
    print(f"\nseconds, and Wasserstein-1 distance from the exact spectrum in thousandths, median (min–max) of "
          f"{options.rounds} rounds; {options.probes} probes, {options.iterations} iterations")  # fmt: skip
    for name, seconds in values.items():
        far = [[1000 * each[i] for each in found[name]] for i in (0, 1)]
        result[f"distance of {name}"] = far
        line = f"  {name:21s} {common.text(common.spread(seconds), ' s')}   masses {common.text(common.spread(far[0]))}"
        line += f"   smoothed {common.text(common.spread(far[1]))}"
        print(line)
        if name in theirs.make:
            for mine in list(sides)[:2]:
                result[f"{mine} to {name}"] = common.ratio(seconds, values[mine])
                print(f"    {mine} is {common.text(result[f'{mine} to {name}'], ' times')} as fast")
    print(result["machine"])
    common.save(options.save, result)


if __name__ == "__main__":
    main()
