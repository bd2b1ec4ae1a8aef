"""What the benchmarks share: interleaved rounds, medians with their spread, the machine in words."""

import argparse
import datetime
import json
import os
import platform
import statistics
from pathlib import Path

import numpy as np
import torch

from lotterylib import data


def arguments(description, **defaults):
    """Return a parser with the options that every benchmark has, and one integer option for each of ``defaults``."""
    parser = argparse.ArgumentParser(description=description, formatter_class=argparse.ArgumentDefaultsHelpFormatter)
    parser.add_argument("--threads", type=int, default=torch.get_num_threads(), help="threads of torch, for every side")
    parser.add_argument("--save", type=Path, help="write the numbers to this JSON file")
    for name, value in defaults.items():
        parser.add_argument(f"--{name}", type=int, default=value)
    return parser


def interleave(sides, rounds):
    """Call the functions of ``sides`` (name -> function) in turn, ``rounds`` times: name -> list of their values.

    What disturbs the machine then disturbs all sides alike, and the ratio of two sides is taken within a round.
    """
    values = {name: [] for name in sides}
    for i in range(rounds):
        for name, side in sides.items():
            values[name].append(side())
        latest = "; ".join(f"{name} {found[-1]:.4g}" for name, found in values.items())
        print(f"round {i + 1} of {rounds}: {latest}", flush=True)
    return values


def spread(values):
    """Median, smallest and largest of a list."""
    return {"median": statistics.median(values), "min": min(values), "max": max(values)}


def ratio(above, below):
    """Spread of the ratio of two sides, round by round."""
    return spread([a / b for a, b in zip(above, below, strict=True)])


def text(found, unit=""):
    """Write a spread as ``median (min-max)``."""
    return f"{found['median']:.3g}{unit} ({found['min']:.3g}–{found['max']:.3g})"


def cifar_sized(device="cpu", count=12800):
    """Random pictures of CIFAR-10's size: what they show does not matter to the clock."""
    rng = np.random.default_rng(0)
    x, y = rng.integers(0, 256, (count, 32, 32, 3), np.uint8), np.arange(count) % 10
    return data.from_arrays("random", x, y, x[:100], y[:100], device=device, augment=True)


def machine():
    """The machine and the versions that a number was measured on."""
    model = platform.processor() or platform.machine()
    if (info := Path("/proc/cpuinfo")).exists():
        for line in info.read_text().splitlines():
            if line.startswith("model name"):
                model = line.partition(":")[2].strip()
    return {
        "cpu": model,
        "cores": os.cpu_count(),
        "threads": torch.get_num_threads(),
        "python": platform.python_version(),
        "torch": torch.__version__,
        "numpy": np.__version__,
        "date": datetime.date.today().isoformat(),
        "load": round(os.getloadavg()[0], 2) if hasattr(os, "getloadavg") else None,
    }


def save(path, result):
    """Write ``result`` as JSON, if a path was given."""
    if path:
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(json.dumps(result, indent=2) + "\n")
        print(f"written to {path}")
