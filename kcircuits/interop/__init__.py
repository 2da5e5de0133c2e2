"""Import from and export to other tools, one module per format."""
