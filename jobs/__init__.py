"""What is asked for, its journey, and who is next.

The domain of darkroom: pure (standard library and pydantic), so it can be read, tested and simulated without a
network, a database, a GPU or a clock. Adapters implement :mod:`jobs.ports`; doors call :mod:`jobs.desk`.
"""
