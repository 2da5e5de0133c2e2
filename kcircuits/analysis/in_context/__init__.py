"""In-context learning: how examples in the prompt change the circuit."""
