"""Files of edits: one module per format, and the reader for all of them in `reading`."""
