"""Keys of results: a SHA-256 of everything that determines a result."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Sequence
from typing import Any

from kcircuits.data.prompts import Prompt

ALGORITHMS = 1
"""Raise this number whenever a change of the package gives another result for the same settings.

Results are found by their key, so without this number results of older code would be reused. It is not the
package's version or a hash of its sources, because then each release or changed comment would invalidate all
results.
"""


def key_of(content: dict[str, Any]) -> str:
    """The key of a result, 64 hexadecimal digits; `content` has JSON values with finite numbers.

    Examples
    --------
    >>> key_of({"a": 1, "b": [0.5]}) == key_of({"b": [0.5], "a": 1})
    True
    """
    return hashlib.sha256(canonical({"algorithms": ALGORITHMS, **content}).encode()).hexdigest()


def canonical(content: dict[str, Any]) -> str:
    """JSON text that is the same for equal content."""
    return json.dumps(content, sort_keys=True, separators=(",", ":"), allow_nan=False, ensure_ascii=True)


def digest_of_prompts(prompts: Sequence[Prompt]) -> str:
    """SHA-256 of the content of prompts, in their order."""
    rows = [vars(prompt) for prompt in prompts]
    return hashlib.sha256(canonical({"prompts": rows}).encode()).hexdigest()
