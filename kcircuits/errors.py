"""The one exception that means: the input was bad, and this sentence says what to do about it."""

from __future__ import annotations


class KCircuitsError(ValueError):
    """Bad input. The command line prints it as one line and exits with status 2."""


class KCircuitsWarning(UserWarning):
    """A result that is probably not what was wanted; the message says what to try."""
