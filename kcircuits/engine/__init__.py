"""The compiled engine behind typed calls, the memory that each phase needs, and prompts in micro-batches."""

from kcircuits.engine.engine import (
    CHUNK_LIMIT,
    Counter,
    Engine,
    Rule,
    acdc_chunk,
    check_all_fit,
    engine_of,
    engines,
    engines_for_circuits,
    mean_activations,
    measure,
)

__all__ = [
    "CHUNK_LIMIT",
    "Counter",
    "Engine",
    "Rule",
    "acdc_chunk",
    "check_all_fit",
    "engine_of",
    "engines",
    "engines_for_circuits",
    "mean_activations",
    "measure",
]
