"""One progress bar for notebook and terminal, with the time left."""

import os

from tqdm.auto import tqdm


def bar(iterable=None, **options):
    """A tqdm bar that appears after two seconds and goes when it is done; none where ``TQDM_DISABLE`` is set."""
    disable = bool(os.environ.get("TQDM_DISABLE"))  # which tqdm itself overlooks in notebooks
    return tqdm(iterable, delay=2, leave=False, disable=disable, **options)
