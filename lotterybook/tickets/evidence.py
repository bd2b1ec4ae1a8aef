"""Names for rooms that still ask for them here; to be deleted when none does."""

from .findings import row, sentences  # noqa: F401
from .matching import EPSILON, excess, within  # noqa: F401
