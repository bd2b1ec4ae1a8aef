"""Properties: tests of examples that hypothesis draws."""

from hypothesis import HealthCheck, example, given, settings
from soak import forms

QUICK, LONG = 100, 1500  # examples


def holds(*first, **drawn):
    """Make a property of what is ``drawn`` a test: ``QUICK`` examples, always the same, and in ``make soak`` ``LONG``.

    ``first``: examples that are tried before any is drawn.
    """

    def decorate(check):
        @forms("examples", QUICK, LONG)
        def test(examples):
            tried = given(**drawn)(check)
            for one in first:
                tried = example(**one)(tried)
            settings(
                max_examples=examples, derandomize=examples == QUICK, database=None, deadline=None,
                suppress_health_check=list(HealthCheck),  # a busy machine draws slowly
            )(tried)()  # fmt: skip

        test.__name__, test.__doc__ = check.__name__, check.__doc__
        return test

    return decorate
