"""The exception and the warning of this package."""

from __future__ import annotations


class KCircuitsError(ValueError):
    """Raised for invalid input, with a message that says what to do. The command line exits with status 2."""


class KCircuitsWarning(UserWarning):
    """A result is probably not what you want; the message says what to try."""
