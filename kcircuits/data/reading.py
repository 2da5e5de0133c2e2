"""Text and JSON from files that users wrote, with errors that say what is wrong with them."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from kcircuits.documents import without_duplicates
from kcircuits.errors import KCircuitsError
from kcircuits.file_kinds import HEAD_BYTES, foreign_kind


def read_text(path: str | Path) -> str:
    """The file's text. Raises KCircuitsError if it cannot be read or is not UTF-8."""
    try:
        content = Path(path).expanduser().read_bytes()  # once, as it may come from a pipe
        kind = foreign_kind(content[:HEAD_BYTES])
        if kind is not None:
            raise KCircuitsError(f"{path} is not text: it is {kind}")
        return content.decode("utf-8-sig").replace("\r\n", "\n").replace("\r", "\n")
    except KCircuitsError:
        raise
    except FileNotFoundError:
        raise KCircuitsError(f"{path} does not exist") from None
    except UnicodeDecodeError as error:
        raise KCircuitsError(f"{path} is not UTF-8 text: {error.reason} at byte {error.start}") from None
    except (OSError, ValueError, RuntimeError) as error:
        raise KCircuitsError(f"cannot read {path}: {getattr(error, 'strerror', None) or error}") from None


def parse_object(text: str) -> dict[str, Any]:
    """Parse a JSON object; raises KCircuitsError if the text is something else or has a key twice."""
    try:
        value = json.loads(text, object_pairs_hook=without_duplicates)
    except json.JSONDecodeError as error:
        where = f"line {error.lineno} column {error.colno}" if error.lineno > 1 else f"column {error.colno}"
        raise KCircuitsError(f"not JSON: {error.msg} ({where})") from None
    except KCircuitsError:
        raise
    except (ValueError, RecursionError) as error:  # numbers with thousands of digits, endless nesting
        raise KCircuitsError(f"not usable as JSON: {error}") from None
    if not isinstance(value, dict):
        raise KCircuitsError(f"expected a JSON object {{...}}, got {type(value).__name__}")
    return value
