"""Text and JSON from files that users wrote, with errors that say what is wrong with them."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from kcircuits.errors import KCircuitsError


def read_text(path: str | Path) -> str:
    """The file's text. Raises KCircuitsError if it cannot be read or is not UTF-8."""
    try:
        return Path(path).expanduser().read_text(encoding="utf-8-sig")
    except FileNotFoundError:
        raise KCircuitsError(f"{path} does not exist") from None
    except UnicodeDecodeError as error:
        raise KCircuitsError(f"{path} is not UTF-8 text: {error.reason} at byte {error.start}") from None
    except (OSError, ValueError, RuntimeError) as error:
        raise KCircuitsError(f"cannot read {path}: {getattr(error, 'strerror', None) or error}") from None


def parse_object(text: str) -> dict[str, Any]:
    """Parse a JSON object. Raises KCircuitsError if the text is not JSON or is something else."""
    try:
        value = json.loads(text)
    except json.JSONDecodeError as error:
        where = f"line {error.lineno} column {error.colno}" if error.lineno > 1 else f"column {error.colno}"
        raise KCircuitsError(f"not JSON: {error.msg} ({where})") from None
    except (ValueError, RecursionError) as error:  # numbers with thousands of digits, endless nesting
        raise KCircuitsError(f"not usable as JSON: {error}") from None
    if not isinstance(value, dict):
        raise KCircuitsError(f"expected a JSON object {{...}}, got {type(value).__name__}")
    return value
