"""Reproducible safetensors files: equal content gives equal bytes."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import numpy as np
    from torch import Tensor


def tensor_bytes(tensors: Mapping[str, Tensor] | Mapping[str, np.ndarray], metadata: dict[str, str]) -> bytes:
    """Serialise tensors to safetensors with a sorted header.

    The library itself writes the metadata in an order that changes from run to run.

    Parameters
    ----------
    tensors
        Name -> tensor; either all PyTorch tensors or all NumPy arrays.
    metadata
        Metadata of the header.
    """
    import numpy as np

    save: Any
    if all(isinstance(tensor, np.ndarray) for tensor in tensors.values()):
        from safetensors.numpy import save
    else:
        from safetensors.torch import save
    content: bytes = save(dict(tensors), metadata=metadata)
    length = int.from_bytes(content[:8], "little")
    header = json.loads(content[8 : 8 + length])
    own = header.pop("__metadata__", {})
    if own:
        header = {"__metadata__": dict(sorted(own.items()))} | header
    text = json.dumps(header, separators=(",", ":"), ensure_ascii=False).encode()
    text += b" " * (-len(text) % 8)  # keeps the tensors aligned
    return b"".join([len(text).to_bytes(8, "little"), text, memoryview(content)[8 + length :]])
