from typing import Any


def read_gguf_tokenizer(take: Any) -> Any:
    for k in (
        "model",
        "pre",
        "tokens",
        "token_type",
        "scores",
        "merges",
        "bos_token_id",
        "eos_token_id",
        "unknown_token_id",
        "padding_token_id",
        "add_bos_token",
        "add_space_prefix",
    ):
        take("tokenizer.ggml." + k, None)
    return None
