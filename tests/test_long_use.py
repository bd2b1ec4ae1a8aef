"""Long use: what is done again and again takes no more memory, open files or disk from one time to the next.

Each is done in a process of its own, which counts objects, bytes of tensors, open files and peak memory.
"""

import contextlib
import gc
import os
import resource
import sys
from collections import Counter

import crashes
import torch
from soak import forms, tally

from lotterybook import records
from lotterybook.tickets import figures
from lotterylib import imp, sgd

WARM = 6  # times before the count begins: the first ones fill caches


def measured():
    """Objects by type, bytes of tensors, open files, and the most memory that this process has had, in MB."""
    gc.collect()
    everything = gc.get_objects()
    storages = [one.untyped_storage() for one in everything if issubclass(type(one), torch.Tensor)]
    tensors = {storage.data_ptr(): storage.nbytes() for storage in storages}
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / (2**20 if sys.platform == "darwin" else 2**10)
    objects = Counter(type(one).__name__ for one in everything)
    return objects, sum(tensors.values()), len(os.listdir("/dev/fd")), peak


def again_and_again(pipe, prepare, folder, times):
    """Do ``times`` what ``prepare`` returns; send how much more there is in the end than after the first ones."""
    work = prepare(folder)
    for i in range(times):
        if i == WARM:
            measured()  # which leaves something itself, the first time
            before = measured()
        work(i)
    after = measured()
    after[0].subtract(before[0])
    pipe.send([after[0], *(now - then for now, then in zip(after[1:], before[1:], strict=True))])


def grown(prepare, folder, times, what, disk=""):
    """Objects, bytes of tensors, open files and MB of peak memory that ``prepare(folder)`` leaves after ``times``."""
    receiver, sender = crashes.server().Pipe(duplex=False)
    process = crashes.start(again_and_again, sender, prepare, folder, times)
    sender.close()
    with receiver:
        more = receiver.recv()
    process.join()
    assert process.exitcode == 0
    objects, tensors, files, peak = more
    tally("Done again and again", what=what, times=times, more_objects=objects.total(), more_tensors=f"{tensors} bytes",
          more_open_files=files, more_memory=f"{peak:.1f} MB", disk=disk)  # fmt: skip
    assert tensors == 0 and files <= 0 and peak < 8
    assert objects.total() < times / 2, f"less than one for every two times: {objects.most_common(5)}"


class Stopped(BaseException):
    """The reader interrupts it."""


def restarts(folder):
    """One run, interrupted after some of its steps and started again; when it is finished, it is read."""
    described, update = crashes.described(), sgd.Group.update

    def start(_):
        left = iter(range(15))

        def stopping(group):
            if next(left, None) is None:
                raise Stopped
            update(group)

        sgd.Group.update = stopping
        with contextlib.suppress(Stopped):
            imp.run(*described, checkpoint=folder)

    return start


@forms("times", 20, 50)
def test_restarts_of_one_run(tmp_path, times):
    grown(restarts, tmp_path / "again", times, "Restarts of one IMP run", "as one run")
    crashes.start(crashes.run, tmp_path / "once").join()
    assert crashes.contents(tmp_path / "again") == crashes.contents(tmp_path / "once")


def store_of_records(folder):
    """Each time another record is computed, kept, and read."""
    crashes.use(folder)

    def one(i):
        def get(compute):
            return records.load_or_compute("demo", "smoke", {"lr": i}, "data", compute)

        get(lambda: ({"error": torch.full((500,), float(i))}, {}))
        assert get(None)["error"][0] == i

    return one


@forms("times", 30, 1000)
def test_many_records_in_one_store(tmp_path, times):
    grown(store_of_records, tmp_path, times, "Records in one store", "as many files of one size")
    files = [path for path in tmp_path.rglob("*") if path.is_file()]
    sizes = {path.stat().st_size for path in files}
    assert len(files) == times and max(sizes) - min(sizes) <= 8  # the settings' digits, padded


def cell(folder):
    """A cell of chapter 1, in one kernel, whose own lists of all that cells returned and showed are left out."""
    from IPython.core.interactiveshell import InteractiveShell

    os.environ["IPYTHONDIR"] = str(folder)
    shell = InteractiveShell.instance()
    level = torch.arange(4.0)[:, None, None]
    tickets = {"density": 0.8 ** level.flatten(), "rewind_step": torch.tensor([0, 10]),
               "error": 0.1 + level / 100 * torch.tensor([[[1.0, 2.0], [0.1, 0.2]]])}  # fmt: skip
    shell.user_ns.update(figures=figures, tickets=records.Record(tickets, {}))

    def execute(_):
        shell.run_cell("figures.errors(tickets)", store_history=False).raise_error()
        getattr(shell.history_manager, "outputs", {}).clear()
        gc.collect()  # figures hold themselves: without it some dozens wait to be freed together

    return execute


@forms("times", 12, 50)
def test_a_cell_in_one_kernel(tmp_path, times):
    grown(cell, tmp_path, times, "Executions of a cell with a figure", "none")
