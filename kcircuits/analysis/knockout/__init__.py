"""Effects of removing a circuit from the model."""
