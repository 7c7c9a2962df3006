"""The ledger: SQLAlchemy on SQLite or PostgreSQL behind the ports of :mod:`jobs.ports`, and picture files."""
