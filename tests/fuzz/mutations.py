"""Files that are nearly right: strategies that change a good one where its format has something to say."""

from __future__ import annotations

import json
import re
from collections.abc import Iterable
from copy import deepcopy
from typing import Any

from hypothesis import strategies as st

# What `json.dumps` would not write stands in a document under a name, and is put into the text.
RAW = {
    f"@raw{number}@": text
    for number, text in enumerate(
        (
            "[" * 100_000 + "]" * 100_000,
            '{"a":' * 100_000 + "0" + "}" * 100_000,
            "[" * 500 + "]" * 500,
            "1e999",
            "-1e999",
            "9" * 5000,
            "1e-999",
            "-0",
            "NaN",
            r'"\ud800"',
            r'"\u0000"',
            '{"a": 1, "a": 2}',
            "tru",
        )
    )
}
NUMBERS: tuple[float, ...] = (
    *(
        0,
        -1,
        1,
        2,
        3,
        7,
        100,
        65_536,
        10**6,
        2**31 - 1,
        2**31,
        2**32,
        10**11,
        2**53 + 1,
        2**63,
        2**64,
        10**30,
    ),
    *(-(2**31), -(2**63), 0.5, -0.5, 1e-300, 1e300, float("inf"), float("-inf")),
)
VALUES: tuple[Any, ...] = (
    *(None, True, False, *NUMBERS, *RAW),
    *("", " ", "x", "a\nb\u2028c", "A" * 5000, "../../escape", "/etc/hostname", "{}", "0", "\u202e", "é"),
    *([], {}, [[]], [None], [0] * 1000, {"": None}, [{}]),
)
INTEGERS = (
    0,
    1,
    2,
    3,
    8,
    255,
    2**16,
    2**20,
    2**24,
    2**31 - 1,
    2**31,
    2**32 - 1,
    2**40,
    2**60,
    2**63,
    2**64 - 1,
)

_SPECIAL = re.compile("|".join(f'"{name}"' for name in RAW))


def written(document: Any) -> str:
    """A document as JSON, with what only text can say."""
    return _SPECIAL.sub(lambda match: RAW[match[0].strip('"')], json.dumps(document))


def _places(value: Any) -> Iterable[tuple[Any, Any]]:
    """Every container with each of its keys or indices, the outer ones first."""
    level = [value]
    while level:
        below = []
        for container in level:
            keys = container if isinstance(container, dict) else range(len(container))
            for key in keys:
                yield container, key
                if isinstance(container[key], dict | list):
                    below.append(container[key])
        level = below


@st.composite
def changed_document(draw: st.DrawFn, document: Any) -> Any:
    """A JSON document with one to three things wrong: values, types, keys, counts."""
    value = [deepcopy(document)]
    for _ in range(draw(st.sampled_from((1, 1, 1, 2, 3)))):
        places = list(_places(value))
        if not places:
            break
        # Half of the time near the root, where there are few keys and much depends on them.
        near = draw(st.booleans())
        container, key = places[draw(st.integers(0, min(40, len(places)) - 1 if near else len(places) - 1))]
        change = draw(st.sampled_from(("replace", "replace", "drop", "other", "repeat", "rename", "scale")))
        old = container[key]
        if change == "replace":
            container[key] = deepcopy(draw(st.sampled_from(VALUES)))
        elif change == "other":
            source, name = places[draw(st.integers(0, len(places) - 1))]
            container[key] = deepcopy(source[name])
        elif change == "scale" and isinstance(old, int | float) and not isinstance(old, bool):
            container[key] = draw(st.sampled_from((-old, old + 1, old - 1, old * 1000, old * 10**9, old / 3)))
        elif change == "repeat" and isinstance(container, list) and container is not value:
            container[key:key] = [deepcopy(old)] * draw(st.sampled_from((1, 2, 50)))
        elif change == "rename" and isinstance(container, dict):
            container[draw(st.sampled_from(("", "x", "../x", *RAW, "A" * 5000)))] = container.pop(key)
        elif container is not value:
            del container[key]
    return value[0]


@st.composite
def changed_bytes(draw: st.DrawFn, content: bytes) -> bytes:
    """Flipped, dropped, repeated, inserted and overwritten bytes, or the beginning alone."""
    data = bytearray(content)
    for _ in range(draw(st.sampled_from((1, 1, 1, 2, 3)))):
        place = draw(st.integers(0, len(data)))
        length = draw(st.sampled_from((1, 2, 4, 8, 64, 1024)))
        change = draw(st.sampled_from(("flip", "truncate", "drop", "repeat", "insert", "number")))
        if change == "flip" and place < len(data):
            data[place] ^= 1 << draw(st.integers(0, 7))
        elif change == "truncate":
            del data[place:]
        elif change == "drop":
            del data[place : place + length]
        elif change == "repeat":
            data[place:place] = data[place : place + length] * draw(st.sampled_from((1, 3, 100)))
        elif change == "insert":
            data[place:place] = draw(st.binary(min_size=1, max_size=16))
        else:
            _overwrite(data, place, draw(st.sampled_from((4, 8))), draw(st.sampled_from(INTEGERS)))
    return bytes(data)


def _overwrite(data: bytearray, place: int, size: int, number: int) -> None:
    data[place : place + size] = (number % 2 ** (8 * size)).to_bytes(size, "little")


def json_file(content: bytes) -> st.SearchStrategy[bytes]:
    """A file of one JSON document."""
    return changed_document(json.loads(content)).map(lambda document: written(document).encode())


@st.composite
def json_lines(draw: st.DrawFn, content: bytes) -> bytes:
    """A file of JSON lines, one of them changed."""
    lines = content.decode().splitlines()
    place = draw(st.integers(0, len(lines) - 1))
    lines[place] = written(draw(changed_document(json.loads(lines[place]))))
    return "\n".join(lines).encode()


@st.composite
def words(draw: st.DrawFn, content: bytes) -> bytes:
    """A file of text, one of its numbers or words changed."""
    text = content.decode()
    found = list(re.finditer(r"\d+|[a-zA-Z_]+|\W", text))
    match = found[draw(st.integers(0, len(found) - 1))]
    new = draw(
        st.sampled_from(("", "0", "-1", "999999", "9" * 5000, "nan", "1e999", "->", "\n", "\x00", "é"))
    )
    return (text[: match.start()] + new + text[match.end() :]).encode()


@st.composite
def safetensors_file(draw: st.DrawFn, content: bytes) -> bytes:
    """A safetensors file with a changed header, of the right length or of a wrong one, and its data."""
    length = int.from_bytes(content[:8], "little")
    header = json.loads(content[8 : 8 + length])
    changed = written(draw(changed_document(header))).encode()
    right = st.just(len(changed))
    claimed = draw(st.one_of(right, right, right, st.sampled_from((len(changed) + 8, *INTEGERS))))
    data = content[8 + length :]
    if draw(st.integers(0, 4)) == 0:
        data = data[: draw(st.integers(0, len(data)))]
    return claimed.to_bytes(8, "little") + changed + data


@st.composite
def safetensors_metadata(draw: st.DrawFn, content: bytes) -> bytes:
    """A safetensors file in whose metadata one text, JSON itself, is changed."""
    length = int.from_bytes(content[:8], "little")
    header = json.loads(content[8 : 8 + length])
    texts = header["__metadata__"]
    key = draw(st.sampled_from(sorted(texts)))
    try:
        texts[key] = written(draw(changed_document(json.loads(texts[key]))))
    except ValueError:
        texts[key] = draw(st.sampled_from(("", "x", "kcircuits-scores/2", *RAW.values())))
    changed = json.dumps(header).encode()
    return len(changed).to_bytes(8, "little") + changed + content[8 + length :]


@st.composite
def gguf_file(draw: st.DrawFn, content: bytes, numbers: list[tuple[int, int]]) -> bytes:
    """A GGUF file in which one to three numbers of the header are others.

    numbers: of each number of the header, its place and its bytes.
    """
    data = bytearray(content)
    for _ in range(draw(st.sampled_from((1, 1, 1, 2, 3)))):
        place, size = numbers[draw(st.integers(0, len(numbers) - 1))]
        old = int.from_bytes(data[place : place + size], "little")
        near = st.sampled_from((old + 1, old - 1, old * 2, old * 1000))
        _overwrite(data, place, size, draw(st.one_of(st.sampled_from(INTEGERS), near)))
    return bytes(data)
