"""Direct contributions of heads and MLPs to the answer, and what heads attend to."""
