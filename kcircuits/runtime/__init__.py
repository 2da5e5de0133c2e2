"""What the rest runs on: memory budgets, signals, optional packages, and options as fields."""
