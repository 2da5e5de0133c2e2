"""Edits in files: one module for each format, and the reader of them all in `reading`."""
