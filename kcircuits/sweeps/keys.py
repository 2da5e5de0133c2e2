"""What makes two pieces of work the same: a SHA-256 of everything that determines their result."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Sequence
from typing import Any

from kcircuits.data.prompts import Prompt

ALGORITHMS = 1
"""Raised by hand whenever a change of this package gives another result for the same settings.

Results are found again by their key alone, so without it those of the older code would pass for the newer
code's. It is not the package's version, nor a hash of its sources: then every release, and every comment that
is changed, would throw days of work away.
"""


def key_of(content: dict[str, Any]) -> str:
    """The key of some work, 64 hexadecimal digits; `content` holds JSON values with finite numbers.

    Examples
    --------
    >>> key_of({"a": 1, "b": [0.5]}) == key_of({"b": [0.5], "a": 1})
    True
    """
    return hashlib.sha256(canonical({"algorithms": ALGORITHMS, **content}).encode()).hexdigest()


def canonical(content: dict[str, Any]) -> str:
    """JSON of which there is one for equal content."""
    return json.dumps(content, sort_keys=True, separators=(",", ":"), allow_nan=False, ensure_ascii=True)


def digest_of_prompts(prompts: Sequence[Prompt]) -> str:
    """SHA-256 of all that prompts hold, in their order."""
    rows = [vars(prompt) for prompt in prompts]
    return hashlib.sha256(canonical({"prompts": rows}).encode()).hexdigest()
