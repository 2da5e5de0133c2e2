"""A typed interface to the compiled engine, the memory needs of each phase, and micro-batches of prompts."""

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
