"""What a GPU does: engines for small convolutions, an evaluation, the ceilings, and training steps of many kinds.

    python benchmarks/gpu_times.py OUT [probes] [timing]

Results are in OUT/probes.json and OUT/timing.json, written after each measurement, the most telling ones first; what
fails is noted, and the next goes on. Step times are replicate-steps per second of ResNet-20, batch 128, half of the
weights masked, on random pictures of CIFAR-10's size:

- library: lotterylib as it is, order and augmentation included. ``graphs``: one captured graph for each replicate on a
  stream of its own; ``stacked``: all in one by vmap, convolutions of groups;
- eager: one plain module, autocast, channels last, torch.optim.SGD, one batch that is there already;
- lean, compiled, wide: the steps of ``wide.py``, their batches made before the clock starts.
"""

import argparse
import contextlib
import itertools
import json
import statistics
import sys
import time
from dataclasses import replace
from pathlib import Path

import torch
from torch.nn import functional as F
from torch.utils.flop_counter import FlopCounterMode

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))
import common  # noqa: E402
import wide  # noqa: E402

from lotterylib import memory, networks, order, pruning, sgd, store, training  # noqa: E402
from lotterylib.states import select  # noqa: E402

CUDNN = torch.backends.cudnn
FREE, TRIED = {"deterministic": False}, {"benchmark": True}  # what cuDNN may do besides: see ``algorithms``
ALLOWED = {"deterministic": {}, "any algorithm": FREE, "benchmark": TRIED}


class Notes:
    """What a part measures, by name: printed and written at once; a failure is a note too."""

    def __init__(self, path):
        self.path, self.values = path, {}

    def take(self, name, work):
        """Note what ``work()`` returns, or the error that it raises."""
        begin = time.monotonic()
        try:
            self.values[name] = work()
        except Exception as error:  # an engine that does not exist, say: the next one is worth having
            first = (str(error).splitlines() or [""])[0]
            self.values[name] = f"{type(error).__name__}: {first[:200]}"
        print(f"  {name:48s} {self.values[name]}  ({time.monotonic() - begin:.1f} s)", flush=True)
        about = {"device": torch.cuda.get_device_name(), "machine": common.machine(), "found": self.values}
        store.write_bytes(self.path, json.dumps(about, indent=1).encode() + b"\n")
        torch.cuda.empty_cache()


# --- measuring on the device ------------------------------------------------------------------------------------------


def seconds(work, repeats=1, warm_up=1):
    """Seconds that the device takes for ``work``, the mean of ``repeats`` calls after ``warm_up`` that do not count."""
    for _ in range(warm_up):
        work()
    torch.cuda.synchronize()
    begin = time.perf_counter()
    for _ in range(repeats):
        work()
    torch.cuda.synchronize()
    return (time.perf_counter() - begin) / repeats


@contextlib.contextmanager
def algorithms(deterministic=True, benchmark=False, tf32=False):
    """Which algorithms cuDNN may take; by default the library's."""
    with networks.exact():
        CUDNN.deterministic, CUDNN.benchmark = deterministic, benchmark
        if tf32:
            CUDNN.conv.fp32_precision = "tf32"
        yield


def captured(work, stream, **allowed):
    """``work`` as a CUDA graph, captured on a stream."""
    stream.wait_stream(torch.cuda.current_stream())
    with torch.cuda.stream(stream), algorithms(**allowed):
        for _ in range(3):  # libraries choose their kernels and allocate before a capture
            work()
    graph = torch.cuda.CUDAGraph()
    with torch.cuda.graph(graph, stream=stream), algorithms(**allowed):
        work()
    return graph


def rate(pairs, each=1, window=0.25):
    """Replicate-steps per second of graphs with their streams, replayed in turn, ``each`` in one: median of three."""

    def turns(count):
        for _ in range(count):
            for graph, stream in pairs:
                with torch.cuda.stream(stream):
                    graph.replay()

    turns(5)
    count = max(10, int(10 * window / seconds(lambda: turns(10))))
    times = [seconds(lambda: turns(count), warm_up=0) for _ in range(3)]
    return round(len(pairs) * each * count / statistics.median(times))


# --- probes -----------------------------------------------------------------------------------------------------------


def probes(options):
    """What must be known of the device first: engines for small convolutions, an evaluation, the two ceilings."""
    notes, half = Notes(options.out / "probes.json"), torch.bfloat16
    stem = {"stem": (3, 16, 32), "stem, padded to 8": (8, 16, 32)}
    stages = {f"{c} to {c} channels": (c, c, 512 // c) for c in (16, 32, 64)}

    def table(chosen, dtypes, allowed):
        for name, dtype, flags in itertools.product(chosen, dtypes, allowed):
            label = f"{name}, {str(dtype)[6:]}, {flags}: µs"
            notes.take(label, lambda s=chosen[name], d=dtype, a=ALLOWED[flags]: convolution(*s, d, **a))

    table(stem, [half], ["deterministic"])
    for layout in ("NHWC", "NCHW"):
        for kind in ("exact", "TF32", "bfloat16"):
            notes.take(f"10,000 pictures, {layout}, {kind}: ms", lambda a=layout, b=kind: evaluation(a, b))
    notes.take("10,000 pictures, the library: ms", lambda: evaluation("library", "exact"))
    notes.take("bfloat16 product: TFLOP/s; copy: TB/s", ceilings)
    notes.take("a step: GFLOP, GB", step_size)
    table(stages, [half, torch.float16], ["deterministic", "any algorithm"])
    table({**stem, **stages}, [half, torch.float16], ["benchmark"])
    table({**stem, **stages}, [torch.float32], ["deterministic"])


def convolution(inputs, outputs, size, dtype, **allowed):
    """Microseconds of a 3x3 convolution of 128 pictures, channels last, forward and backward; whether bits repeat."""
    last, inner = {"memory_format": torch.channels_last}, inputs > 8  # a stem passes no gradient on
    x = torch.randn(128, inputs, size, size, device="cuda").to(dtype).contiguous(**last).requires_grad_(inner)
    weight = torch.randn(outputs, inputs, 3, 3, device="cuda").to(dtype).contiguous(**last).requires_grad_()
    along = torch.randn(128, outputs, size, size, device="cuda").to(dtype).contiguous(**last)

    def work():
        return torch.autograd.grad(F.conv2d(x, weight, padding=1), [x, weight] if inner else [weight], along)

    with algorithms(**allowed):
        first, repeats = work(), all(all(map(torch.equal, work(), work())) for _ in range(3))
    graph = captured(lambda: [work() for _ in range(10)], torch.cuda.Stream(), **allowed)
    sound = all(bool(tensor.isfinite().all()) for tensor in first)
    return {"time": round(seconds(graph.replay, 10) * 1e5, 1), "repeats": repeats and sound}


def evaluation(layout, kind):
    """Milliseconds of an evaluation, and the largest difference of a logit from the exact one's."""
    ds = common.cifar_sized("cuda", 128)
    net = networks.build("resnet20", ds)
    state, x = net.init(1), torch.randn(10000, 32, 32, 3, device="cuda").movedim(3, 1)  # as a dataset's ``test_x`` lies
    if layout == "library":
        y = torch.arange(len(x), device="cuda") % 10
        return round(1e3 * seconds(lambda: training.evaluate(net, state, x, y), 3), 1)
    form = {"memory_format": torch.channels_last if layout == "NHWC" else torch.contiguous_format}
    module, x = net.make().cuda().eval().to(**form), x.contiguous(**form)

    @torch.no_grad()
    def logits(tf32=kind == "TF32", half=kind == "bfloat16"):
        with algorithms(tf32=tf32), torch.autocast("cuda", torch.bfloat16, enabled=half):
            return torch.cat([module(part) for part in x.split(2500)]).float()

    off = float((logits() - logits(False, False)).abs().max())
    return {"time": round(1e3 * seconds(logits, 3), 1), "off": off}


def ceilings(size=8192):
    """The rate of a bfloat16 matrix product, in TFLOP/s, and of a copy, in TB/s read and written."""
    a = torch.randn(size, size, device="cuda", dtype=torch.bfloat16)
    source = torch.empty(2**30, device="cuda", dtype=torch.uint8)
    target = torch.empty_like(source)
    product, copy = seconds(lambda: a @ a, 20), seconds(lambda: target.copy_(source), 20)
    return [round(2e-12 * size**3 / product, 1), round(2e-12 * 2**30 / copy, 2)]


def step_size():
    """What a step of one replicate must do: GFLOP, counted by torch, and GB that its backward pass keeps, twice."""
    ds = common.cifar_sized("cuda", 1280)
    net, recipe = networks.build("resnet20", ds), training.Recipe(1, precision="bfloat16")
    x, y = ds.gather(torch.arange(128, device="cuda"))
    with FlopCounterMode(display=False) as counter:
        F.cross_entropy(net.make().cuda().train()(x), y).backward()
    return [round(counter.get_total_flops() / 1e9, 1), round(2 * memory.saved_bytes(net, ds, recipe) / 1e9, 3)]


# --- step times -------------------------------------------------------------------------------------------------------


WAYS = {"graphs": False, "stacked": None}  # what ``networks.wrap`` is told: None, and half precision is stacked


def as_told(net, way):
    """The network, whose convolutions the library trains in this way."""
    return networks.wrap(net.make, net.device, stacked=WAYS[way])


def fastest(found, count=4, worth=1.1):
    """The library's fastest precision and way among times, with its rate; float16 if it is ``worth`` its risk."""
    rates = {}
    for precision, way in itertools.product(("bfloat16", "float16", "float32"), WAYS):
        rate = found.get(f"library, {precision}, {count} {way}")
        if isinstance(rate, int):  # not an error's text
            rates[precision, way] = rate
    if not rates:
        return None
    best = max(rates, key=lambda key: rates[key] / (worth if key[0] == "float16" else 1))
    return *best, rates[best]


def timing(options):
    """Replicate-steps per second, the most telling ways first."""
    notes, ds = Notes(options.out / "timing.json"), common.cifar_sized("cuda")
    window, most = (0.1, 4) if options.quick else (0.25, 16)
    net = networks.build("resnet20", ds)
    state = net.init(most)
    mask = pruning.magnitude(state, pruning.full(net, state), 0.5)
    state = pruning.apply(state, mask)
    recipe = training.Recipe(10**5, lr=0.01, schedule="constant", momentum=0.9, weight_decay=1e-4)

    def library(count, precision, way):
        own = as_told(net, way)
        rows, changed = list(range(count)), replace(recipe, precision=precision)
        stacked = own.stacks(ds.test_x, precision)  # finds out the layout that the step goes by, too
        assert stacked == (way == "stacked"), "torch cannot stack it"
        momentum = {name: torch.zeros_like(state[name]) for name in net.parameters}
        failed = torch.full((most,), -1, device="cuda")
        whole = sgd.Training(own, ds, changed, stacked, mask, list(range(most)), state, momentum, failed)
        groups, now = sgd.groups_of(whole, rows, 0, {}), [0]

        def steps(count):
            now[0] = sgd.advance(groups, now[0], now[0] + count)

        steps(order.SPAN["cuda"])
        several = order.SPAN["cuda"] * max(1, int(window / seconds(lambda: steps(order.SPAN["cuda"]), warm_up=0)))
        times = [seconds(lambda: steps(several), warm_up=0) for _ in range(3)]
        return round(count * several / statistics.median(times))

    def lean(count=1, dtype=torch.bfloat16, wide_one=False, compiled=False, **allowed):
        seeds = [list(range(count))] if wide_one else [[r] for r in range(count)]
        steps = [
            wide.Lean(net, ds, recipe, rows, select(state, rows), select(mask, rows), dtype, compiled) for rows in seeds
        ]
        turns = [(step, torch.cuda.Stream()) for step in steps]
        return rate(
            [(captured(step.update, queue, **allowed), queue) for step, queue in turns], count // len(steps), window
        )

    def eager():
        module = net.make().cuda().to(memory_format=torch.channels_last).train()
        optimizer = torch.optim.SGD(module.parameters(), 0.01, 0.9, weight_decay=1e-4)
        x, y = ds.gather(torch.arange(128, device="cuda"))

        def step():
            with torch.autocast("cuda", torch.bfloat16):
                logits = module(x)
            optimizer.zero_grad()
            F.cross_entropy(logits.float(), y).backward()
            optimizer.step()

        seconds(step, 10)
        return round(1 / seconds(step, 100))

    def take(count, precision, way):
        notes.take(f"library, {precision}, {count} {way}", lambda: library(count, precision, way))

    halves = {"bfloat16": torch.bfloat16, "float16": torch.float16}
    for way, precision in itertools.product(WAYS, halves):  # these tell how an experiment is run, and how long
        take(4, precision, way)
    notes.take("10,000 pictures, the library: ms", lambda: evaluation("library", "exact"))
    for count, way, precision in itertools.product((most, most // 2, 1), WAYS, halves):
        take(count, precision, way)
    for name, dtype in halves.items():
        notes.take(f"wide, {name}, {most} replicates", lambda d=dtype: lean(most, d, wide_one=True))
    take(4, "float32", "graphs")
    notes.take("eager, bfloat16, one at a time", eager)
    for count, name in ((4, "float16"), (most, "float16"), (4, "bfloat16")):
        notes.take(
            f"wide, compiled, {name}, {count} replicates",
            lambda c=count, d=halves[name]: lean(c, d, wide_one=True, compiled=True),
        )
    notes.take("compiled, bfloat16, 4 graphs", lambda: lean(4, compiled=True))
    notes.take("compiled, float16, 4 graphs", lambda: lean(4, torch.float16, compiled=True))


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("out", type=Path, help="receives the results")
    parser.add_argument("parts", nargs="*", default=["probes", "timing"], help="probes, timing, or both")
    parser.add_argument("--quick", action="store_true", help="few graphs and short windows, for a trial")
    options = parser.parse_args()
    if not torch.cuda.is_available():
        raise SystemExit("gpu_times.py measures a CUDA device, and torch sees none here")
    for part in options.parts:
        {"probes": probes, "timing": timing}[part](options)


if __name__ == "__main__":
    try:
        main()
    except KeyboardInterrupt:
        raise SystemExit(130) from None
