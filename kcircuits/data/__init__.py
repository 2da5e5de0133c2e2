"""Prompts and relations, from text or token ids to padded batches."""
