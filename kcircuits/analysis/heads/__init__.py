"""What every head and MLP writes to the answer, and what heads attend to."""
