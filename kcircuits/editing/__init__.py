"""Model editing: ROME, MEMIT and fine-tuning, and what an edit did."""
