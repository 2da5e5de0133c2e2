"""The data types that weights are kept in, by name."""

from __future__ import annotations

from typing import Literal

Dtype = Literal["float32", "bfloat16", "float16", "q8", "q4", "stored"]
