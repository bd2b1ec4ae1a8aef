"""Threads change speed, never a result; and Ctrl-C ends the work of all of them within a step."""

import signal
import threading
import time

import pytest
import torch

from lotterylib import curvature, data, imp, networks, sgd, training
from lotterylib.threads import beside

RECIPE = training.Recipe(steps=20, batch_size=32, lr=0.1, momentum=0.9, weight_decay=1e-3)


@pytest.fixture
def threads():
    """Sets torch's number of threads; it is one again after the test."""
    yield torch.set_num_threads
    torch.set_num_threads(1)


@pytest.fixture(scope="module")
def large():
    """Inputs large enough for torch to share one product among threads."""
    torch.manual_seed(0)
    x, y = torch.randn(600, 300), torch.arange(600) % 3
    return data.from_arrays("large", x[:400], y[:400], x[400:], y[400:], device="cpu")


@pytest.mark.parametrize("replicates", [2, 3, 5])
@pytest.mark.parametrize("stacked", [True, False])
def test_results_do_not_depend_on_the_number_of_threads(large, threads, replicates, stacked):
    net = networks.build("mlp", large, hidden=(200,))
    net.stacked = stacked
    state, results = net.init(replicates), []
    for count in (1, 2, 3):
        threads(count)
        trained = training.train(net, state, large, RECIPE)
        loss, error = training.evaluate(net, trained, large.test_x, large.test_y)
        vectors = torch.ones(replicates, 1, sum(trained[name][0].numel() for name in net.prunable))
        product = curvature.hvp(net, trained, large.train_x, large.train_y, vectors)
        results.append({**trained, "loss": loss, "error": error, "product": product})
        assert torch.get_num_threads() == count
    for name in results[0]:
        assert torch.equal(results[0][name], results[1][name]) and torch.equal(results[0][name], results[2][name]), name


def test_a_run_may_go_on_with_another_number_of_threads(ds, net, config, small_run, tmp_path, threads, monkeypatch):
    original, steps = sgd.Group.update, []

    def stopping(group):
        steps.append(1)
        if len(steps) > 200:
            raise KeyboardInterrupt
        original(group)

    with monkeypatch.context() as patch, pytest.raises(KeyboardInterrupt):
        patch.setattr(sgd.Group, "update", stopping)
        imp.run(net, ds, config, checkpoint=tmp_path)
    threads(2)
    run = imp.run(net, ds, config, checkpoint=tmp_path)
    for one, two in zip(run.levels, small_run.levels, strict=True):
        assert all(torch.equal(one.state[name], two.state[name]) for name in one.state)
        assert torch.equal(one.error, two.error)


def test_an_interrupt_ends_every_thread_within_a_step(large, threads, monkeypatch):
    """Of an epoch of many steps, 0.05 s each, none begins after the interrupt but those under way."""
    net = networks.build("mlp", large, hidden=(4,))
    recipe = training.Recipe(steps=400, batch_size=1)
    begun = []

    def slow(group):
        begun.append(time.monotonic())
        time.sleep(0.05)

    monkeypatch.setattr(sgd.Group, "update", slow)
    threads(2)
    pressed = []

    def press():
        pressed.append(time.monotonic())
        signal.pthread_kill(threading.main_thread().ident, signal.SIGINT)

    timer = threading.Timer(0.5, press)
    timer.start()
    with pytest.raises(KeyboardInterrupt):
        training.train(net, net.init(4), large, recipe)
    timer.join()
    assert len(begun) < 100 and max(begun) < pressed[0] + 0.2
    assert torch.get_num_threads() == 2


def test_calls_keep_their_order_and_their_mode(threads):
    threads(3)
    with torch.no_grad():
        found = beside(lambda i: (i, torch.is_grad_enabled(), torch.get_num_threads()), [(i,) for i in range(7)],
                       torch.device("cpu"))  # fmt: skip
    assert found == [(i, False, 1) for i in range(7)]
    assert beside(lambda: torch.get_num_threads(), [()], torch.device("cpu")) == [3]  # alone it has all of them
