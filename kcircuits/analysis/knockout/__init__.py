"""What the model loses without a circuit."""
