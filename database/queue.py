"""Which rows wait and which are active, as every query says it.

``state = 'queued'`` is written out in SQL, not bound: with a parameter neither database can prove that its partial
index fits.
"""

from sqlalchemy import ColumnElement, and_, literal_column

from database.tables import job

QUEUED: ColumnElement[bool] = job.c.state == literal_column("'queued'")
ACTIVE: ColumnElement[bool] = job.c.slot.is_not(None)
ALL_ACTIVE: ColumnElement[bool] = and_(ACTIVE, job.c.lease_until >= literal_column("'0001-01-01 00:00:00'"))
"""The same, where whole rows of all of them are read: SQLite walks a partial index only with a bound on its first column."""
