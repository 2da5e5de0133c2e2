"""Worker process for plain Hugging Face passes (in the main environment)."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch
from peers.exchange import as_prompts
from peers.protocol import serve
from plain import Plain

passes: Plain


def setup(folder: str, prompts: dict[str, Any], threads: int) -> dict[str, Any]:
    """Load the model and run it once."""
    global passes
    torch.set_num_threads(threads)
    passes = Plain(Path(folder), as_prompts(prompts))
    forward()
    return {}


def forward() -> dict[str, float]:
    """A forward pass."""
    return {"seconds": passes.forward()}


def backward() -> dict[str, float]:
    """A forward pass and `loss.backward()`."""
    return {"seconds": passes.to_parameters()}


if __name__ == "__main__":
    serve({"setup": setup, "forward": forward, "backward": backward})
