"""A record of a prompt file: its keys and their types."""

from __future__ import annotations

from difflib import get_close_matches
from typing import Any

from kcircuits.errors import KCircuitsError

# key: whether it is required
TEXT_KEYS = {"clean": True, "corrupt": False, "answer": True, "wrong": False, "subject": False}
ID_KEYS = {"clean_ids": True, "corrupt_ids": False, "answer_id": True, "wrong_id": False}

OTHER_NAMES = {
    "prompt": "clean",
    "text": "clean",
    "corrupted": "corrupt",
    "target": "answer",
    "target_new": "answer",
    "incorrect": "wrong",
    "corrupted_ids": "corrupt_ids",
}
"""Names of other tools for the keys -> the keys."""

KNOWN_FACT = {"subject", "prompt", "attribute"}
"""Keys of ROME's facts that GPT-2 XL knows (known_1000.json): a prompt and its answer."""


def parse_record(record: dict[str, Any]) -> dict[str, Any]:
    """Check a record in text form or ids form, or one of ROME's known facts.

    Parameters
    ----------
    record
        A JSON object.

    Returns
    -------
    dict
        The given keys without nulls, from either `TEXT_KEYS` or `ID_KEYS`; lists of ids become tuples.

    Raises
    ------
    KCircuitsError
        If a key is missing or unknown, or a value has the wrong type.
    """
    if record.keys() >= KNOWN_FACT and "clean" not in record:
        fact = {"clean": record["prompt"], "answer": record["attribute"], "subject": record["subject"]}
        return {key: _check_value(key, value) for key, value in fact.items()}
    keys = ID_KEYS if any(key in ID_KEYS for key in record) else TEXT_KEYS
    unknown = [key for key in record if key not in keys]
    if unknown:
        raise KCircuitsError(
            f"unknown key {unknown[0]!r}; the keys are {', '.join(keys)}{_suggest_key(unknown[0], keys)}"
        )
    given = {key: value for key, value in record.items() if value is not None}
    for key, required in keys.items():
        if required and key not in given:
            raise KCircuitsError(f"{key!r} is missing")
    return {key: _check_value(key, value) for key, value in given.items()}


def _suggest_key(unknown: str, keys: dict[str, bool]) -> str:
    close = get_close_matches(unknown, keys, n=1)
    meant = close[0] if close else OTHER_NAMES.get(unknown)
    return f": write {meant!r} for {unknown!r}" if meant in keys else ""


def _check_value(key: str, value: Any) -> Any:
    if key in TEXT_KEYS:
        right, wanted = isinstance(value, str), "text"
    elif key.endswith("_id"):
        right, wanted = type(value) is int, "a token id"  # a bool is an int too
    else:
        right, wanted = (
            isinstance(value, list) and all(type(token) is int for token in value),
            "a list of ids",
        )
    if not right:
        raise KCircuitsError(f"{key!r} must be {wanted}, got {value!r:.80}")
    return tuple(value) if isinstance(value, list) else value
