"""Exchange with other tools: one file per format."""
