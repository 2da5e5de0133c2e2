"""Model editing: ROME, MEMIT and fine-tuning, and the effects of an edit."""
