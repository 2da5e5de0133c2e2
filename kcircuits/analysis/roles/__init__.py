"""Roles of heads: mover, relation and mixture."""
