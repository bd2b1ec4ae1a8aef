"""Bad arguments become a ``ValueError`` that names the argument, what came and what is allowed."""

import difflib
import numbers
import reprlib

import torch

_SHORT = reprlib.Repr()
_SHORT.maxstring = _SHORT.maxother = 200


def shown(value) -> str:
    """What came, for a message: its ``repr``, of which a long one keeps 200 characters."""
    return _SHORT.repr(value)


def choice(argument, value, allowed):
    """Return ``value`` if it is among ``allowed``. Raises ``ValueError`` with the closest match if not."""
    allowed = list(allowed)
    if value in allowed:
        return value
    names, listed = list(map(str, allowed)), ", ".join(map(repr, allowed)) or "none"
    word = str(value)[:200]
    begun = [name for name in names if value and name.startswith(word)]
    near = begun or difflib.get_close_matches(word, names, n=1, cutoff=0.4)
    hint = f"; did you mean {near[0]!r}?" if near else ""
    raise ValueError(f"{argument} is {shown(value)}, which is unknown; allowed are {listed}{hint}")


def within(argument, value, low=None, high=None, *, open_low=False, open_high=False):
    """Return ``value`` if it is a number between the bounds (``None``: no bound). Raises ``ValueError`` if not."""
    if isinstance(value, bool) or not isinstance(value, numbers.Real):
        raise ValueError(f"{argument} is {shown(value)}; it must be a number")
    above = low is None or (value > low if open_low else value >= low)
    below = high is None or (value < high if open_high else value <= high)
    if above and below and value == value:
        return value
    bounds = [f"{'>' if open_low else '>='} {low}"] * (low is not None)
    bounds += [f"{'<' if open_high else '<='} {high}"] * (high is not None)
    raise ValueError(f"{argument} is {shown(value)}; it must be {' and '.join(bounds)}")


def whole(argument, value, low, high=None):
    """Return ``value`` as an ``int`` if it is a whole number from ``low`` to ``high``. Raises ``ValueError`` if not."""
    if isinstance(value, bool) or not hasattr(value, "__index__"):
        raise ValueError(f"{argument} is {shown(value)}; it must be a whole number")
    return within(argument, int(value), low, high)


def kind(argument, value, *kinds):
    """Return ``value`` if it is an instance of one of the types ``kinds``. Raises ``ValueError`` if not."""
    if isinstance(value, kinds):
        return value
    allowed = " or ".join(f"a {kind.__name__}" for kind in kinds)
    raise ValueError(f"{argument} is {shown(value)}, a {type(value).__name__}; it must be {allowed}")


def array(argument, values) -> torch.Tensor:
    """Return numbers, in an array, a tensor, a list or alone, as float64 on the CPU. Raises ``ValueError`` if not."""
    try:
        return torch.as_tensor(values, dtype=torch.float64).cpu()
    except (TypeError, ValueError, RuntimeError) as error:
        raise ValueError(f"{argument} is {shown(values)}; it must be numbers ({error})") from error


def tree(argument, value):
    """Return a state or mask, which must be a dict of tensors. Raises ``ValueError`` if it is not."""
    if not isinstance(value, dict) or not value:
        came = "empty" if isinstance(value, dict) else f"a {type(value).__name__}"
        raise ValueError(f"{argument} is {came}; it must be a dict of tensors with a replicate axis")
    for name, tensor in value.items():
        if not torch.is_tensor(tensor):
            raise ValueError(f"{argument} entry {name!r} is a {type(tensor).__name__}; it must be a tensor")
    return value


def labels(argument, y, x, classes):
    """Raise ``ValueError`` unless ``y`` ``(N,)`` are labels from 0 to ``classes - 1``, for one or more inputs ``x``."""
    shape, kind = (tuple(y.shape), y.dtype) if torch.is_tensor(y) else ((), type(y).__name__)
    if shape != (len(x),) or not len(x) or y.is_floating_point() or y.is_complex():
        found = f"{argument} has shape {shape} and type {kind}"
        raise ValueError(f"{found}; it must be ({len(x)},) whole numbers, one for each of one or more inputs")
    low, high = int(y.min()), int(y.max())
    if low < 0 or high >= classes:
        raise ValueError(f"{argument} runs from {low} to {high}; labels must lie between 0 and {classes - 1}")
