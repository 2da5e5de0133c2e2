"""What was read off a model or a circuit, as its files have it: read with distrust, one module per format."""
