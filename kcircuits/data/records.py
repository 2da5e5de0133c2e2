"""One line of a prompt file: which keys it may have, and of what type."""

from __future__ import annotations

from typing import Any

from kcircuits.data.reading import parse_object
from kcircuits.errors import KCircuitsError

# key: is it required?
TEXT_KEYS = {"clean": True, "corrupt": False, "answer": True, "wrong": False, "subject": False}
ID_KEYS = {"clean_ids": True, "corrupt_ids": False, "answer_id": True, "wrong_id": False}


def parse_record(line: str) -> dict[str, Any]:
    """Parse a line in text form or ids form.

    Parameters
    ----------
    line
        A JSON object.

    Returns
    -------
    dict
        The given keys without nulls: all of `TEXT_KEYS` or all of `ID_KEYS`; lists of ids are tuples.

    Raises
    ------
    KCircuitsError
        If it is not a JSON object, a key is missing or unknown, or a value has the wrong type.
    """
    record = parse_object(line)
    keys = ID_KEYS if any(key in ID_KEYS for key in record) else TEXT_KEYS
    unknown = [key for key in record if key not in keys]
    if unknown:
        raise KCircuitsError(f"unknown key {unknown[0]!r}; the keys are {', '.join(keys)}")
    given = {key: value for key, value in record.items() if value is not None}
    for key, required in keys.items():
        if required and key not in given:
            raise KCircuitsError(f"{key!r} is missing")
    return {key: _checked(key, value) for key, value in given.items()}


def _checked(key: str, value: Any) -> Any:
    if key in TEXT_KEYS:
        right, wanted = isinstance(value, str), "text"
    elif key.endswith("_id"):
        right, wanted = type(value) is int, "a token id"  # bool is an int, too
    else:
        right, wanted = (
            isinstance(value, list) and all(type(token) is int for token in value),
            "a list of ids",
        )
    if not right:
        raise KCircuitsError(f"{key!r} must be {wanted}, got {value!r:.80}")
    return tuple(value) if isinstance(value, list) else value
