"""Models: the family-independent specification, loading, and the readable reference forward."""
