"""Reading and writing files: strict text and JSON, records, atomic writes, tensors."""
