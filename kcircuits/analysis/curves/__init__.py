"""Layer curves (logit lens): rank and probability of the answer after each layer."""
