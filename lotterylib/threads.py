"""Replicates beside each other: on a CPU one thread each, so that a result does not depend on how many there are."""

import threading
from concurrent.futures import ThreadPoolExecutor

import torch


def beside(function, rows, device, stop=None):
    """Call ``function(*row)`` for each of ``rows``; return the results in their order.

    On a CPU the calls run in as many threads as torch has, each computing alone: bits do not depend on their number. A
    single call has all threads. ``stop``, an event, is set if a call fails or is interrupted, so that long ones end.
    """
    threads, grad = torch.get_num_threads(), torch.is_grad_enabled()
    if len(rows) == 1 or threads == 1 or device.type != "cpu":
        return [function(*row) for row in rows]
    stop = stop or threading.Event()

    def call(row):
        with torch.set_grad_enabled(grad):
            return function(*row)

    try:
        with ThreadPoolExecutor(min(threads, len(rows)), "replicate", torch.set_num_threads, (1,)) as pool:
            try:
                return list(pool.map(call, rows))
            except BaseException:  # Ctrl-C too: leaving the pool waits for what runs in it
                stop.set()
                pool.shutdown(wait=False, cancel_futures=True)
                raise
    finally:
        torch.set_num_threads(threads)  # the number is also that of threads that start later
