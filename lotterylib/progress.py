"""One progress bar for notebook and terminal, with the time left."""

import os

from tqdm.auto import tqdm


def bar(iterable=None, **options):
    """A tqdm bar that appears after two seconds and goes when it is done; none where ``TQDM_DISABLE`` is set.

    tqdm itself overlooks that variable in notebooks, where a bar would leave a dead widget in the kept output.
    """
    disable = bool(os.environ.get("TQDM_DISABLE"))
    return tqdm(iterable, delay=2, leave=False, disable=disable, **options)
