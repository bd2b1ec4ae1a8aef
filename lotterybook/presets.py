"""The scales at which the book's experiments are run, in one table."""

from dataclasses import replace

from lotterylib import imp, training

from .settings import (
    Arm,
    Barriers,
    Convergence,
    Descent,
    Diet,
    During,
    Limits,
    Overlap,
    Preset,
    Retraining,
    Robustness,
    Tickets,
    Walk,
)


def _resnet(steps, rewind_step, levels, replicates, **recipe):
    recipe = training.Recipe(steps=steps, batch_size=128, momentum=0.9, **recipe)
    return imp.Config(recipe=recipe, rewind_step=rewind_step, levels=levels, replicates=replicates)


def _images(rewind_step, replicates, lr):
    return replace(_resnet(2000, rewind_step, 12, replicates, lr=lr, schedule="cosine", weight_decay=5e-4), seed=4000)


def _testbed(steps, rewind_step, levels, replicates, seed=0):
    recipe = training.Recipe(steps=steps, batch_size=128, lr=0.3, schedule="cosine", momentum=0.9, weight_decay=5e-4)
    return imp.Config(recipe=recipe, rewind_step=rewind_step, levels=levels, replicates=replicates, seed=seed)


_PAPER = {  # github.com/mansheej/lth_diet, by authors of the paper; the precision is ours
    "schedule": "step", "drops": (31200, 46800), "drop": 0.1, "weight_decay": 1e-4, "precision": "bfloat16",
}  # fmt: skip

_LENT = {"schedule": "cosine", "weight_decay": 5e-4, "precision": "bfloat16"}

# The seeds of book are none of those at which its network was chosen, 500 to 2001.
PRESETS = {  # by name: smoke (lines run), book (MNIST-1D), medium (Fashion-MNIST), lent, paper (CIFAR-10)
    "smoke": Preset(
        dataset="mnist1d",
        main=Arm("resnet1d", _testbed(40, (0, 10, 20), levels=3, replicates=2), width=8),
        contrast=Arm("cnn1d_plain", _testbed(40, (0, 20), levels=2, replicates=2), width=8),
        tickets=Tickets(
            control_step=10, control_levels=(1, 3),
            instability_steps=(0, 20), points=3, fresh_levels=(1, 3),
        ),
        barriers=Barriers(
            pair_points=3, plane_steps=3, plane_level=1, projection_points=3,
            recalibrated_steps=(0, 20), recalibrated_replicates=1,
            walk=Walk(levels=2, steps=10, lr=0.05, return_levels=(1, 2), return_steps=(0, 10)),
            networks=(
                Arm("cnn1d", _testbed(20, (0, 10), levels=2, replicates=2), width=4),
                Arm("resnet1d", _testbed(20, (10,), levels=1, replicates=2), width=4, blocks=2),
            ),
        ),
        robustness=Robustness(
            levels=(0, 1, 2), scales=(1.0, 2.0, 4.0),
            times=(15, 30), replicates=1, rewind_steps=(0, 10), few_scales=(1.0, 2.0), unit_levels=(1,),
        ),
        limits=Limits(
            levels=(0, 2), replicates=1, steps=(20, 40),
            exact_levels=(2,), probes=1, iterations=2, descent_step=35, adaptive_rises=(0.1,),
            descent=Descent(steps=4, lr=0.02, by_magnitude=(0.2, 0.5), at_random=(0.2, 0.5)),
            convergence=Convergence(
                levels=(0, 2), steps=(2, 4), replicates=1,
                by_magnitude=((0.2, 0.5), (0.2, 0.5)), at_random=((0.2, 0.5), (0.2, 0.5)),
            ),
            exact_replicates=1, exact_examples=64, during=During(replicates=1, probes=1, iterations=2),
            adaptive_levels=2, adaptive_replicates=1, overlap=Overlap(levels=(2,), count=1, iterations=8),
        ),
        retraining=Retraining(
            short_step=30, fine_rates=(0.02, 0.1), fine_steps=8, cycle_levels=(1, 3), cycle_replicates=1,
        ),
        diet=Diet(
            score_replicates=4, score_steps=(5, 10, 20), score_step=10, mislabelled=0.05, replicates=2,
            starts=(
                (10, "random", 0.05), (10, "easiest", 0.05), (20, "random", 0.05), (20, "hardest", 0.25),
            ),
            start_levels=2, sizes=(600, 4000), shares=(0.5,),
            both_orders=("random", "hardest"), both_shares=(0.5,), both_levels=1,
            spectrum_levels=(0,), probes=1, iterations=2,
        ),
    ),
    "book": Preset(
        dataset="mnist1d",
        main=Arm("resnet1d", _testbed(1500, (0, 10, 25, 40, 75, 150), levels=13, replicates=5, seed=3000)),
        contrast=Arm("cnn1d", _testbed(1500, (0, 50, 100, 300), levels=13, replicates=4, seed=3000)),
        tickets=Tickets(
            control_step=75, control_levels=(2, 4, 6, 8, 10, 12),
            instability_steps=(0, 10, 25, 40, 75, 150), points=15, fresh_levels=(2, 4, 6, 8, 10, 12),
        ),
        barriers=Barriers(
            pair_points=5, plane_steps=21, plane_level=8, projection_points=5,
            recalibrated_steps=(25, 75), recalibrated_replicates=3,
            walk=Walk(levels=8, steps=400, lr=0.05, return_levels=(4, 6, 8), return_steps=(0, 25, 75)),
            networks=(  # plain and of width 24 is the contrast
                Arm("cnn1d", _testbed(1500, (0, 25, 75), levels=14, replicates=3, seed=3000), width=64),
                Arm("resnet1d", _testbed(1500, (0, 25, 75), levels=12, replicates=3, seed=3000), width=12),
                Arm("resnet1d", _testbed(1500, (25, 75), levels=14, replicates=3, seed=3000), width=48),
                Arm("resnet1d", _testbed(1500, (25, 75), levels=13, replicates=3, seed=3000), width=16, blocks=2),
            ),
        ),
        robustness=Robustness(
            levels=(4, 8, 10), scales=(0.5, 1.0, 1.5, 2.0, 4.0),
            times=(75, 150, 300, 600, 1200), replicates=3,
            rewind_steps=(0, 25, 75, 150), few_scales=(1.0, 2.0, 4.0), unit_levels=(6, 9, 11, 12),
        ),
        limits=Limits(
            levels=(0, 4, 8), replicates=4, steps=(75, 300, 1000, 1500),
            exact_levels=(8,), probes=2, iterations=80, descent_step=1300, adaptive_rises=(0.005, 0.02, 0.1),
            epsilons=(0.0003, 0.001, 0.005, 0.01, 0.02, 0.05, 0.1, 0.2), rewind_steps=(25, 75),
            descent=Descent(
                steps=1500, lr=0.02, rewind_steps=(75,),
                by_magnitude=(0.3, 0.4, 0.5, 0.6, 0.7, 0.8, 0.85, 0.9, 0.95),
                at_random=(0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8, 0.9),
            ),
            convergence=Convergence(
                levels=(0, 8), steps=(100, 200, 400, 800, 1500, 3000), replicates=2,
                by_magnitude=((0.8, 0.85, 0.9), (0.4, 0.5, 0.6, 0.7)),
                at_random=((0.6, 0.7, 0.8), (0.2, 0.3, 0.4, 0.5)),
            ),
            exact_replicates=1, during=During(replicates=2, probes=1, iterations=40),
            adaptive_levels=7, adaptive_replicates=2, overlap=Overlap(levels=(0, 8), count=10, iterations=30),
        ),
        retraining=Retraining(
            short_step=1200, fine_rates=(0.01, 0.05), fine_steps=400, cycle_levels=(4, 8, 11), cycle_replicates=3,
        ),
        diet=Diet(
            score_replicates=20, score_steps=(10, 25, 75, 150, 400, 1500), score_step=75, mislabelled=0.05,
            replicates=4,
            starts=(
                (25, "easiest", 0.05), (25, "easiest", 0.25), (25, "random", 0.05), (25, "random", 0.25),
                (25, "hardest", 0.05), (75, "easiest", 0.05), (75, "random", 0.05), (75, "random", 0.25),
                (75, "hardest", 0.05),
            ),
            start_levels=10, sizes=(1000, 4000, 16000), shares=(0.25, 0.5, 0.75),
            both_orders=("random", "hardest"), both_shares=(0.25, 0.5), both_levels=10,
            spectrum_levels=(0, 6), probes=1, iterations=30,
        ),
    ),
    "medium": Preset(  # chosen on 10,000 other training images, with another seed
        dataset="fashion_mnist",
        examples=10000,
        main=Arm("resnet8", _images((0, 30, 80), replicates=4, lr=0.2), width=8),
        contrast=Arm("resnet8", _images((0, 80), replicates=2, lr=0.02), width=8),
        tickets=Tickets(
            control_step=80, control_levels=(4, 8, 11),
            instability_steps=(0, 30, 80), points=9,
        ),
        barriers=Barriers(pair_points=5, plane_steps=11, plane_level=8),
        robustness=Robustness(
            levels=(4, 8, 10), scales=(1.0,),
            times=(80, 400, 1200), replicates=4,
        ),
        limits=Limits(
            levels=(0,), replicates=4, steps=(80, 500, 2000), rewind_steps=(80,),
            exact_levels=(), probes=1, iterations=30, descent_step=1800, adaptive_rises=(0.02,),
            epsilons=(0.001, 0.005, 0.02, 0.05, 0.1, 0.2), adaptive_levels=6, adaptive_replicates=1,
            descent=Descent(
                steps=1500, lr=0.02,
                by_magnitude=(0.7, 0.8, 0.85, 0.9, 0.95), at_random=(0.3, 0.5, 0.6, 0.7, 0.8, 0.9),
            ),
            during=During(replicates=1, probes=1, iterations=30),
        ),
        retraining=Retraining(short_step=1600),
        weights=False,
    ),
    "lent": Preset(  # what ten to fifteen minutes of one GPU can do, block by block: benchmarks/gpu_run.py
        dataset="cifar10_jpeg75",
        main=Arm("resnet20", _resnet(5850, (0, 1000), levels=14, replicates=2, **_LENT, lr=0.1)),
        contrast=Arm("resnet20", _resnet(5850, (0, 1000), levels=14, replicates=2, **_LENT, lr=0.01)),
        tickets=Tickets(
            control_step=1000, control_levels=(4, 8, 12),
            instability_steps=(0, 250, 500, 1000, 2000), points=11,
        ),
        barriers=Barriers(pair_points=3, plane_steps=9, plane_level=6),
        robustness=Robustness(
            levels=(3, 7, 11), scales=(1.0, 2.0, 4.0),
            times=(1000, 2000, 4000), replicates=2,
        ),
        limits=Limits(
            levels=(0, 6, 12), replicates=2, steps=(1000, 3000, 5850),
            exact_levels=(), probes=2, iterations=30, descent_step=5200, adaptive_rises=(0.05,),
        ),
        retraining=Retraining(short_step=4500),
        weights=False,
    ),
    "paper": Preset(
        dataset="cifar10",
        main=Arm("resnet20", _resnet(62400, (0, 250, 1000, 2000), levels=15, replicates=4, **_PAPER, lr=0.1)),
        contrast=Arm("resnet20", _resnet(62400, (0, 1000), levels=15, replicates=4, **_PAPER, lr=0.01)),
        tickets=Tickets(
            control_step=1000, control_levels=(3, 6, 9, 12, 15),
            instability_steps=(0, 100, 250, 500, 1000, 2000), points=11,
        ),
        barriers=Barriers(pair_points=5, plane_steps=15, plane_level=6),
        robustness=Robustness(
            levels=(3, 7, 11), scales=(1.0, 2.0, 4.0, 8.0),
            times=(1000, 2000, 4000, 8000, 16000, 32000), replicates=2,
        ),
        limits=Limits(
            levels=(0, 3, 6, 9, 12), replicates=2, steps=(1000, 2000, 8000, 31000, 32000, 62400),
            exact_levels=(), probes=2, iterations=60, descent_step=60000, adaptive_rises=(0.01, 0.05, 0.2),
        ),
        retraining=Retraining(short_step=50000),
        weights=False,
    ),
}  # fmt: skip
