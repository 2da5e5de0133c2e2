"""Names of senders and receivers in lists of edges.

Other tools have one key and one value per query head, so names are translated into those of the ungrouped
graph (`kcircuits.interop.groups.ungroup`).

* This project and EAP-IG: `input`, `a3.h5`, `m2` send; `a3.h5<q>` (k, v), `m2`, `logits`
  receive. In this naming and that of Edge Pruning, the number of a key or value may count shared heads:
  `is_shared` recognises these names.
* ACDC on TransformerLens, hook names with an index: senders are
  `blocks.1.attn.hook_result[:, :, 2]`, `blocks.2.hook_mlp_out[:]`, and `blocks.0.hook_resid_pre[:]` or
  `hook_embed[:]` and `hook_pos_embed[:]`, which are all `input` here; receivers are
  `blocks.3.hook_q_input[:, :, 5]` (likewise k and v), `blocks.2.hook_mlp_in[:]` (in early versions
  `hook_resid_mid[:]`) and the last layer's `hook_resid_post[:]`. The index `[:]` may be left out, and a colon
  may be written COL, COLON or None.
* auto-circuit: `Resid Start`, `A3.5`, `MLP 2` send; `A3.5.Q` (K, V), `MLP 2`, `Resid End` receive.
* The first implementation of EAP: `head.3.5`, `mlp.2`, `resid_pre.0` send; `head.3.5.q` (k, v), `mlp.2`,
  the last `resid_post.11` receive.
* Edge Pruning: `embeds`, or `tok_embeds` and `pos_embeds`, `a3.h5`, `m2` send; `a3.h5.q` (k, v), `m2`,
  `resid_post` receive.
"""

from __future__ import annotations

import re
from functools import lru_cache

from kcircuits.errors import KCircuitsError
from kcircuits.files.documents import quote

_LAYER = r"blocks\.(?P<layer>\d{1,6})"
_HEAD = r"\[:, :, (?P<head>\d{1,6})\]"
_ALL = r"(?:\[:\])?"

_SENDERS = (
    (r"a(?P<layer>\d{1,6})\.h(?P<head>\d{1,6})", "a{layer}.h{head}"),
    (r"m(?P<layer>\d{1,6})", "m{layer}"),
    ("input", "input"),
    (rf"{_LAYER}\.attn\.hook_result{_HEAD}", "a{layer}.h{head}"),
    (rf"{_LAYER}\.hook_mlp_out{_ALL}", "m{layer}"),
    (rf"(?:blocks\.0\.hook_resid_pre|hook_embed|hook_pos_embed){_ALL}", "input"),
    (r"A(?P<layer>\d{1,6})\.(?P<head>\d{1,6})", "a{layer}.h{head}"),
    (r"MLP (?P<layer>\d{1,6})", "m{layer}"),
    ("Resid Start", "input"),
    (r"head\.(?P<layer>\d{1,6})\.(?P<head>\d{1,6})", "a{layer}.h{head}"),
    (r"mlp\.(?P<layer>\d{1,6})", "m{layer}"),
    (r"resid_pre\.0|embeds|tok_embeds|pos_embeds", "input"),
)
_RECEIVERS = (
    (r"a(?P<layer>\d{1,6})\.h(?P<head>\d{1,6})<(?P<kind>[qkv])>", "a{layer}.h{head}<{kind}>"),
    (r"m(?P<layer>\d{1,6})", "m{layer}"),
    ("logits", "logits"),
    (rf"{_LAYER}\.hook_(?P<kind>[qkv])_input{_HEAD}", "a{layer}.h{head}<{kind}>"),
    (rf"{_LAYER}\.hook_(?:mlp_in|resid_mid){_ALL}", "m{layer}"),
    (r"A(?P<layer>\d{1,6})\.(?P<head>\d{1,6})\.(?P<kind>[QKV])", "a{layer}.h{head}<{kind}>"),
    (r"MLP (?P<layer>\d{1,6})", "m{layer}"),
    ("Resid End", "logits"),
    (r"head\.(?P<layer>\d{1,6})\.(?P<head>\d{1,6})\.(?P<kind>[qkv])", "a{layer}.h{head}<{kind}>"),
    (r"mlp\.(?P<layer>\d{1,6})", "m{layer}"),
    (r"a(?P<layer>\d{1,6})\.h(?P<head>\d{1,6})\.(?P<kind>[qkv])", "a{layer}.h{head}<{kind}>"),
    ("resid_post", "logits"),
)
_LAST = rf"{_LAYER}\.hook_resid_post{_ALL}|resid_post\.(?P<after>\d{{1,6}})"

# Edges between the hooks of one node: they describe how a head or MLP is computed, not the stream.
_INSIDE = (
    r"blocks\.(\d+)\.hook_([qkv])_input(\[:, :, \d+\]) -> blocks\.\1\.attn\.hook_\2\3",
    r"blocks\.(\d+)\.attn\.hook_[qkv](\[:, :, \d+\]) -> blocks\.\1\.attn\.hook_result\2",
    rf"blocks\.(\d+)\.hook_(?:mlp_in|resid_mid){_ALL} -> blocks\.\1\.hook_mlp_out{_ALL}",
)


_PARTS_OF_INPUT = {"hook_embed": "token", "tok_embeds": "token", "hook_pos_embed": "position"}
_PARTS_OF_INPUT["pos_embeds"] = "position"
_COLON = re.compile(r"(?<=[\[,\s])(?:COL(?:ON)?|None|slice\(None, None, None\))(?=\s*[\],])")


def tidy(name: str) -> str:
    """Normalise a name: one space after each comma, none around the name, and indices as `[:, :, 2]`.

    Examples
    --------
    >>> tidy(" blocks.1.attn.hook_result[COL,COL,2]")
    'blocks.1.attn.hook_result[:, :, 2]'
    """
    name = re.sub(r"\s*,\s*", ", ", " ".join(name.split()))
    return _COLON.sub(":", name) if "[" in name else name


def part_of_input(name: str) -> str | None:
    """The part of `input` that a sender's name means, "token" or "position"; None for all of it."""
    return _PARTS_OF_INPUT.get(name.removesuffix("[:]"))


def is_shared(name: str) -> bool:
    """Whether a name is that of a key or value whose number may count heads that share it."""
    return re.fullmatch(r"a\d{1,6}\.h\d{1,6}(?:<[kv]>|\.[kv])", name) is not None


def translate_sender(name: str) -> str:
    """Translate the name of a sender.

    Raises KCircuitsError if no naming has it; the message tells if it is a receiver.

    Examples
    --------
    >>> translate_sender("blocks.1.attn.hook_result[:, :, 2]"), translate_sender("MLP 2")
    ('a1.h2', 'm2')
    """
    found = _translate(name, _SENDERS)
    if found is None:
        hint = "it is a receiver: the sender comes first" if is_receiver(name) else "see docs/interop.md"
        raise KCircuitsError(f"no sender is called {quote(name)} ({hint})")
    return found


def translate_receiver(name: str, num_layers: int) -> str:
    """Translate the name of a receiver of a model with `num_layers` layers.

    Raises KCircuitsError if no naming has it, or if it is the stream after a layer that is not the last.

    Examples
    --------
    >>> translate_receiver("blocks.3.hook_k_input[:, :, 5]", 12), translate_receiver("A3.5.K", 12)
    ('a3.h5<k>', 'a3.h5<k>')
    """
    end = re.fullmatch(_LAST, name)
    if end is not None:
        if int(end["layer"] or end["after"]) != num_layers - 1:
            raise KCircuitsError(f"{name!r} is not the final stream: the last layer is {num_layers - 1}")
        return "logits"
    found = _translate(name, _RECEIVERS)
    if found is None:
        raise KCircuitsError(f"no receiver is called {quote(name)} ({_receiver_hint(name)})")
    return found


def is_inside_a_node(sender: str, receiver: str) -> bool:
    """Whether an edge leads from one hook of a head or MLP to another hook of the same one.

    Examples
    --------
    >>> is_inside_a_node("blocks.2.hook_mlp_in[:]", "blocks.2.hook_mlp_out[:]")
    True
    """
    edge = f"{sender} -> {receiver}"
    return any(re.fullmatch(pattern, edge) for pattern in _INSIDE)


def add_kind(receiver: str, kind: object) -> str:
    """Append a kind that is given separately to the name of a head that has none.

    Examples
    --------
    >>> add_kind("a1.h2", "k"), add_kind("m2", "mlp"), add_kind("a1.h2<q>", "q")
    ('a1.h2<k>', 'm2', 'a1.h2<q>')
    """
    name = receiver.strip()
    return f"{name}<{kind}>" if kind in ("q", "k", "v") and re.fullmatch(r"a\d+\.h\d+", name) else receiver


def is_name(text: str) -> bool:
    """Whether a whole text is the name of a sender or a receiver."""
    return is_sender(text) or is_receiver(text)


def is_sender(name: str) -> bool:
    """Whether this is the name of a sender in any naming."""
    return _translate(name, _SENDERS) is not None


def is_receiver(name: str) -> bool:
    """Whether this is the name of a receiver in any naming."""
    return _translate(name, _RECEIVERS) is not None or re.fullmatch(_LAST, name) is not None


def _receiver_hint(name: str) -> str:
    if re.fullmatch(r"A\d{1,6}\.\d{1,6}", name):
        return "query, key or value is missing: use auto-circuit with separate_qkv=True"
    if re.fullmatch(r"a\d{1,6}\.h\d{1,6}", name):
        return f"query, key or value is missing: write {name}<q>, {name}<k> or {name}<v>"
    return (
        "it is a sender: the receiver comes second" if _translate(name, _SENDERS) else "see docs/interop.md"
    )


@lru_cache(maxsize=2**16)
def _translate(name: str, patterns: tuple[tuple[str, str], ...]) -> str | None:
    for pattern, template in patterns:
        if match := re.fullmatch(pattern, name):
            parts = match.groupdict()
            return template.format(**{key: _part(key, value) for key, value in parts.items()})
    return None


def _part(key: str, value: str) -> int | str:
    return value.lower() if key == "kind" else int(value)
