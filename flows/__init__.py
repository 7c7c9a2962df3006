"""The recipes: what can be asked for, its limits, and how each kind of engine makes it."""
