"""Fixtures that several suites share; nothing starts until a test asks for it."""

pytest_plugins = ["tests.postgres", "tests.databases"]
