"""INSERT … ON CONFLICT, which SQLite and PostgreSQL spell alike and SQLAlchemy keeps apart."""

from sqlalchemy import Table
from sqlalchemy.dialects import postgresql, sqlite
from sqlalchemy.ext.asyncio import AsyncConnection


def upsert(tx: AsyncConnection, table: Table) -> postgresql.Insert | sqlite.Insert:
    """An INSERT that knows ``on_conflict_do_update`` and ``on_conflict_do_nothing``."""
    return upsert_into(tx.dialect.name, table)


def upsert_into(dialect: str, table: Table) -> postgresql.Insert | sqlite.Insert:
    """The same for a dialect's name, where the statement is built once and kept."""
    return postgresql.insert(table) if dialect == "postgresql" else sqlite.insert(table)
