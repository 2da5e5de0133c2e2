"""Prompts and relations: from text or ids to tokenised, padded batches."""
