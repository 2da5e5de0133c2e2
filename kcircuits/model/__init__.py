"""Models: the family-free description, loading, and the readable reference forward."""
