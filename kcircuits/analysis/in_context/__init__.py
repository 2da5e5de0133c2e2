"""What examples in the prompt change."""
