"""Worlds in which the real planner runs, the bounds it must keep in them, and wrong planners that must not."""
