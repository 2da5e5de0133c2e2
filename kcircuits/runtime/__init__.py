"""Services for all other packages: memory budgets, signals, optional packages, options as fields."""
