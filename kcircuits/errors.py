"""The one exception that means: the input was bad, and this sentence says what to do about it."""

from __future__ import annotations


class KCircuitsError(ValueError):
    """Bad input. The command line prints it as one line and exits with status 2."""
