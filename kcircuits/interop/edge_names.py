"""What other tools call the ends of an edge.

Both namings that are read here have one key and value per query head, so names are translated into those of
the ungrouped graph (`kcircuits.interop.groups.ungrouped`).

* Hook names with an index, as ACDC has them on top of TransformerLens: senders are
  `blocks.1.attn.hook_result[:, :, 2]`, `blocks.2.hook_mlp_out[:]`, and `blocks.0.hook_resid_pre[:]` or
  `hook_embed[:]` and `hook_pos_embed[:]`, which are all `input` here; receivers are
  `blocks.3.hook_q_input[:, :, 5]` (likewise k and v), `blocks.2.hook_mlp_in[:]` (in early versions
  `hook_resid_mid[:]`) and the last layer's `hook_resid_post[:]`. The index `[:]` may be left out.
* auto-circuit's: `Resid Start`, `A3.5`, `MLP 2` send; `A3.5.Q` (K, V), `MLP 2`, `Resid End` receive.
"""

from __future__ import annotations

import re

from kcircuits.documents import shown
from kcircuits.errors import KCircuitsError

_LAYER = r"blocks\.(?P<layer>\d{1,6})"
_HEAD = r"\[:, :, (?P<head>\d{1,6})\]"
_ALL = r"(?:\[:\])?"

_SENDERS = (
    (rf"{_LAYER}\.attn\.hook_result{_HEAD}", "a{layer}.h{head}"),
    (rf"{_LAYER}\.hook_mlp_out{_ALL}", "m{layer}"),
    (rf"(?:blocks\.0\.hook_resid_pre|hook_embed|hook_pos_embed){_ALL}", "input"),
    (r"A(?P<layer>\d{1,6})\.(?P<head>\d{1,6})", "a{layer}.h{head}"),
    (r"MLP (?P<layer>\d{1,6})", "m{layer}"),
    ("Resid Start", "input"),
)
_RECEIVERS = (
    (rf"{_LAYER}\.hook_(?P<kind>[qkv])_input{_HEAD}", "a{layer}.h{head}<{kind}>"),
    (rf"{_LAYER}\.hook_(?:mlp_in|resid_mid){_ALL}", "m{layer}"),
    (r"A(?P<layer>\d{1,6})\.(?P<head>\d{1,6})\.(?P<kind>[QKV])", "a{layer}.h{head}<{kind}>"),
    (r"MLP (?P<layer>\d{1,6})", "m{layer}"),
    ("Resid End", "logits"),
)
_LAST = rf"{_LAYER}\.hook_resid_post{_ALL}"

# Between the hooks of one node: they say how a head or MLP is computed, and are no edges of the stream.
_INSIDE = (
    r"blocks\.(\d+)\.hook_([qkv])_input(\[:, :, \d+\]) -> blocks\.\1\.attn\.hook_\2\3",
    r"blocks\.(\d+)\.attn\.hook_[qkv](\[:, :, \d+\]) -> blocks\.\1\.attn\.hook_result\2",
    rf"blocks\.(\d+)\.hook_(?:mlp_in|resid_mid){_ALL} -> blocks\.\1\.hook_mlp_out{_ALL}",
)


def sender_named(name: str) -> str:
    """Translate the name of a sender.

    Raises KCircuitsError if it is in neither naming; the message says if it is a receiver.

    Examples
    --------
    >>> sender_named("blocks.1.attn.hook_result[:, :, 2]"), sender_named("MLP 2")
    ('a1.h2', 'm2')
    """
    found = _translated(name, _SENDERS)
    if found is None:
        hint = "it is a receiver: the sender comes first" if _is_receiver(name) else "see docs/interop.md"
        raise KCircuitsError(f"no sender is called {shown(name)} ({hint})")
    return found


def receiver_named(name: str, num_layers: int) -> str:
    """Translate the name of a receiver of a model with so many layers.

    Raises KCircuitsError if it is in neither naming, or the stream after another layer than the last.

    Examples
    --------
    >>> receiver_named("blocks.3.hook_k_input[:, :, 5]", 12), receiver_named("A3.5.K", 12)
    ('a3.h5<k>', 'a3.h5<k>')
    """
    end = re.fullmatch(_LAST, name)
    if end is not None:
        if int(end["layer"]) != num_layers - 1:
            raise KCircuitsError(f"{name!r} is not the end: the model's last layer is {num_layers - 1}")
        return "logits"
    found = _translated(name, _RECEIVERS)
    if found is None:
        raise KCircuitsError(f"no receiver is called {shown(name)} ({_receiver_hint(name)})")
    return found


def is_inside_a_node(sender: str, receiver: str) -> bool:
    """Whether an edge leads from one hook of a head or MLP to another of the same.

    Examples
    --------
    >>> is_inside_a_node("blocks.2.hook_mlp_in[:]", "blocks.2.hook_mlp_out[:]")
    True
    """
    edge = f"{sender} -> {receiver}"
    return any(re.fullmatch(pattern, edge) for pattern in _INSIDE)


def is_name(text: str) -> bool:
    """Whether a text is, as a whole, the name of a sender or a receiver."""
    return _translated(text, _SENDERS) is not None or _is_receiver(text)


def _is_receiver(name: str) -> bool:
    return _translated(name, _RECEIVERS) is not None or re.fullmatch(_LAST, name) is not None


def _receiver_hint(name: str) -> str:
    if re.fullmatch(_SENDERS[3][0], name):
        return "it does not say which of query, key and value: auto-circuit's separate_qkv=True makes it"
    return (
        "it is a sender: the receiver comes second" if _translated(name, _SENDERS) else "see docs/interop.md"
    )


def _translated(name: str, patterns: tuple[tuple[str, str], ...]) -> str | None:
    for pattern, template in patterns:
        if match := re.fullmatch(pattern, name):
            parts = match.groupdict()
            return template.format(**{key: _part(key, value) for key, value in parts.items()})
    return None


def _part(key: str, value: str) -> int | str:
    return value.lower() if key == "kind" else int(value)
