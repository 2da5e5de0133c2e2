"""What is read off a model and a circuit: one file per question. docs/reading.md defines every number."""
