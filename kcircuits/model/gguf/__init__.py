"""GGUF files: their header, weights and tokenizer, read without Transformers."""
