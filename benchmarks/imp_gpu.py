"""IMP training speed on a GPU: captured steps against eager ones, and against what the device can do at most.

    python benchmarks/imp_gpu.py

A masked network is trained on random pictures of CIFAR-10's size, cropped and flipped. The sides take turns:

- eager: one plain module at a time, autocast, channels last, torch.optim.SGD, the same batches;
- graphs: lotterylib as it is for residual networks, one captured graph for each replicate on a stream of its own;
- stacked: the same replicates under vmap, in one captured graph with grouped convolutions.

Counted are replicate-steps per second. The ceilings are a large matrix product and a large copy, measured in the same
run; a step's operations are counted by torch, its bytes are those that the backward pass keeps, written and read once.
"""

import time
from dataclasses import replace

import common
import torch
from torch.nn import functional as F
from torch.utils.flop_counter import FlopCounterMode

from lotterylib import memory, networks, order, pruning, states, training


def seconds(work, repeats=1):
    """Seconds that the device takes for ``work``, called ``repeats`` times after one call that does not count."""
    work()
    torch.cuda.synchronize()
    begin = time.perf_counter()
    for _ in range(repeats):
        work()
    torch.cuda.synchronize()
    return (time.perf_counter() - begin) / repeats


def ceilings(size=8192):
    """Operations per second of a bfloat16 matrix product, and bytes per second of a copy (read and written)."""
    a = torch.randn(size, size, device="cuda", dtype=torch.bfloat16)
    source = torch.empty(2**30, device="cuda", dtype=torch.uint8)
    target = torch.empty_like(source)
    return 2 * size**3 / seconds(lambda: a @ a, 20), 2 * 2**30 / seconds(lambda: target.copy_(source), 20)


def operations_of_a_step(net, ds, recipe):
    """Operations of one replicate's step, forward and backward."""
    model = net.make().cuda().train()
    x, y = ds.gather(torch.arange(recipe.batch_size, device="cuda"))
    half = torch.autocast("cuda", torch.bfloat16, enabled=recipe.precision == "bfloat16")
    with FlopCounterMode(display=False) as counter:
        with half:
            logits = model(x)
        F.cross_entropy(logits.float(), y).backward()
    return counter.get_total_flops()


def eager(net, state, mask, ds, recipe, warm_up, steps):
    """Steps per second of one plain module, trained as people do."""
    model = net.make().cuda()
    model.load_state_dict({name: tensor[0] for name, tensor in state.items()})
    model = model.train().to(memory_format=torch.channels_last)
    optimizer = torch.optim.SGD(
        model.parameters(), lr=recipe.lr, momentum=recipe.momentum, weight_decay=recipe.weight_decay
    )
    weights = dict(model.named_parameters())
    for step, (x, y) in zip(range(warm_up + steps), order.batches(ds, recipe, [0]), strict=False):
        if step == warm_up:
            torch.cuda.synchronize()
            begin = time.perf_counter()
        with torch.autocast("cuda", torch.bfloat16, enabled=recipe.precision == "bfloat16"):
            logits = model(x[0].contiguous(memory_format=torch.channels_last))
        optimizer.zero_grad()
        F.cross_entropy(logits.float(), y[0]).backward()
        optimizer.step()
        with torch.no_grad():
            for name, keep in mask.items():
                weights[name].mul_(keep[0])
    torch.cuda.synchronize()
    return steps / (time.perf_counter() - begin)


def captured(net, state, mask, ds, recipe, warm_up, steps, count):
    """Replicate-steps per second of lotterylib."""
    state, mask = (states.select(tree, list(range(count))) for tree in (state, mask))
    times = []
    for _ in training.trajectory(net, state, ds, recipe, mask, stop=warm_up + steps, at=(warm_up, warm_up + steps)):
        torch.cuda.synchronize()
        times.append(time.perf_counter())
    return count * steps / (times[1] - times[0])


def main():
    parser = common.arguments(__doc__.splitlines()[0], rounds=5, steps=400)
    parser.add_argument("--network", default="resnet20")
    parser.add_argument("--replicates", type=int, nargs="+", default=[1, 4, 16])
    options = parser.parse_args()
    if not torch.cuda.is_available():
        raise SystemExit("imp_gpu.py measures a CUDA device, and torch sees none here")
    ds, most = common.cifar_sized("cuda"), max(options.replicates)
    net, stacked = (networks.build(options.network, ds) for _ in range(2))
    stacked.stacked = True
    state = net.init(most, seed=0)
    mask = pruning.magnitude(state, pruning.full(net, state), fraction=0.5)
    state = pruning.apply(state, mask)
    half = training.Recipe(
        steps=10**5, batch_size=128, lr=0.01, schedule="constant", weight_decay=1e-4, precision="bfloat16"
    )
    whole = replace(half, precision="float32")
    common_arguments = state, mask, ds

    sides = {"eager, bfloat16": lambda: eager(net, *common_arguments, half, 20, options.steps)}
    for count in options.replicates:
        for name, which, recipe in (
            (f"{count} graphs, bfloat16", net, half),
            (f"{count} stacked, bfloat16", stacked, half),
            (f"{count} graphs, float32", net, whole),
        ):
            sides[name] = lambda n=which, r=recipe, c=count: captured(n, *common_arguments, r, 20, options.steps, c)
    values = common.interleave(sides, options.rounds)
    product, copy = ceilings()
    operations, kept = operations_of_a_step(net, ds, half), memory.saved_bytes(net, ds, half)

    print(f"\n{options.network}, {torch.cuda.get_device_name()}: replicate-steps/s, median (min–max)")
    print(
        f"ceilings: {product / 1e12:.0f} TFLOP/s, {copy / 1e12:.2f} TB/s; a step: {operations / 1e9:.1f} GFLOP, ",
        end="",
    )
    print(f"{2 * kept / 1e9:.2f} GB")
    result = {"device": torch.cuda.get_device_name(), "machine": common.machine(), "network": options.network,
              "flops": product, "bytes": copy, "step_flops": operations, "step_bytes": 2 * kept,
              "replicate_steps_per_second": values}  # fmt: skip
    for name, found in values.items():
        rate = common.spread(found)["median"]
        ratio = common.text(common.ratio(found, values["eager, bfloat16"]), " times eager")
        share = f"{rate * operations / product:.1%} of the product, {rate * 2 * kept / copy:.1%} of the copy"
        print(f"  {name:22s} {common.text(common.spread(found))}   {ratio}   {share}")
    common.save(options.save, result)


if __name__ == "__main__":
    main()
