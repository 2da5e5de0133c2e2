"""What a search will take, before it begins: memory from sizes alone, time from a short measurement."""

from kcircuits.planning.plan import Plan, plan

__all__ = ["Plan", "plan"]
