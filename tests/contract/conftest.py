import pytest

from database.engine import Database
from database.job_store import SqlJobStore
from database.outbox import SqlOutbox


@pytest.fixture
def store(database: Database) -> SqlJobStore:
    return SqlJobStore(database)


@pytest.fixture
def outbox(database: Database) -> SqlOutbox:
    return SqlOutbox(database)
