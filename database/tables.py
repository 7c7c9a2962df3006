"""The schema, one for SQLite and PostgreSQL. Migrations write it; a test holds the two equal.

``job`` is the ledger, ``job_event`` its append-only history, ``outbox`` what is still to be posted. That nobody has
more than two active jobs is a constraint: an active job occupies slot 0 or 1, and (user_id, slot) is unique.
"""

import json
from typing import Any

from sqlalchemy import (
    BigInteger,
    Boolean,
    CheckConstraint,
    Column,
    Double,
    ForeignKey,
    Identity,
    Index,
    Integer,
    MetaData,
    SmallInteger,
    Table,
    Text,
    UniqueConstraint,
    text,
)
from sqlalchemy.engine import Dialect
from sqlalchemy.ext.compiler import compiles
from sqlalchemy.sql.compiler import SQLCompiler
from sqlalchemy.sql.expression import FunctionElement
from sqlalchemy.types import TypeDecorator

from database.moments import Moment, now

metadata = MetaData(
    naming_convention={
        "pk": "pk_%(table_name)s",
        "uq": "uq_%(table_name)s_%(column_0_N_name)s",
        "ck": "ck_%(table_name)s_%(constraint_name)s",
        "fk": "fk_%(table_name)s_%(column_0_name)s",
        "ix": "ix_%(table_name)s_%(column_0_N_name)s",
    }
)

STATES = ("queued", "leased", "running", "done", "failed", "cancelled", "expired", "quarantined")
ENDED = ("done", "failed", "cancelled", "expired", "quarantined")
DELIVERY_STATES = ("pending", "sending", "sent", "dead")

Serial = BigInteger().with_variant(Integer, "sqlite")
"""SQLite numbers rows by itself only where the key is spelled INTEGER."""


_encoded = json.JSONEncoder(ensure_ascii=True, allow_nan=False, separators=(",", ":")).encode


class Json(TypeDecorator[Any]):
    """JSON in a text column, escaped to ASCII: a NUL or half a surrogate pair from outside stays storable."""

    impl = Text
    cache_ok = True

    def process_bind_param(self, value: Any, dialect: Dialect) -> str | None:
        """Written compactly; NaN and infinities are refused."""
        return None if value is None else _encoded(value)

    def process_result_value(self, value: str | None, dialect: Dialect) -> Any:
        """As it was written."""
        return None if value is None else json.loads(value)


def one_of(column: str, values: tuple[str, ...]) -> str:
    """The SQL of ``column IN ('a', 'b')``."""
    quoted = ", ".join(f"'{value}'" for value in values)
    return f"{column} IN ({quoted})"


class written_by(FunctionElement[int]):  # noqa: N801  (a SQL function, written as SQL writes it)
    """The number of the writing transaction; nothing on SQLite, where rows are numbered in the order of their commits."""

    inherit_cache = True


@compiles(written_by, "sqlite")
def _on_sqlite(_element: written_by, _compiler: SQLCompiler, **_: Any) -> str:
    return "NULL"


@compiles(written_by, "postgresql")
def _on_postgresql(_element: written_by, _compiler: SQLCompiler, **_: Any) -> str:
    return "(pg_current_xact_id()::text::bigint)"


def _serial() -> Column[int]:
    return Column("seq", Serial, Identity(), primary_key=True)


job = Table(
    "job",
    metadata,
    _serial(),  # also the order of arrival
    Column("id", Text, nullable=False, unique=True),
    Column("idempotency_key", Text, nullable=False, unique=True),
    Column("user_id", Text, nullable=False),
    Column("door", Text, nullable=False),
    # What planning reads without opening the order.
    Column("kind", Text, nullable=False),
    Column("model", Text, nullable=False),
    Column("width", Integer, nullable=False),
    Column("height", Integer, nullable=False),
    Column("order", Json, nullable=False),
    Column("state", Text, nullable=False),
    Column("generation", Integer, nullable=False, server_default="0"),
    Column("attempt", Integer, nullable=False, server_default="0"),
    Column("lost", Integer, nullable=False, server_default="0"),
    Column("epoch", Integer, nullable=False, server_default="0"),
    Column("version", Integer, nullable=False, server_default="0"),
    Column("slot", SmallInteger),
    Column("worker", Text),
    Column("lease_until", Moment),
    Column("cancel_requested", Boolean, nullable=False, server_default=text("false")),
    Column("guild_id", Text),
    Column("channel_id", Text),
    Column("locale", Text),
    Column("failure", Json),
    Column("making", Json),
    Column("created_at", Moment, nullable=False, default=now()),
    Column("not_before", Moment),
    Column("deadline", Moment, nullable=False),
    Column("started_at", Moment),
    Column("finished_at", Moment),
    # What planning charges and what a lease did charge. Rows of an older darkroom have none of it.
    Column("count", SmallInteger, nullable=False, server_default="1"),
    Column("lane", Text),
    Column("weight", Double),
    Column("cost", Double),  # predicted seconds alone on the reference worker, at the submission
    Column("predicted", Double),  # the same as the lease charged it
    Column("charged", Json),  # {pool: virtual seconds} of the present lease
    Column("queued_at", Moment),  # since when it waits, its back-off aside
    Column("params_hash", Text),
    Column("suspect", SmallInteger, nullable=False, server_default="0"),  # workers that died while they ran it, in company
    Column("died_on", Json),  # names of workers that died while they ran it alone
    Column("refunds", SmallInteger, nullable=False, server_default="0"),  # charges given back because a worker was lost
    Column("shunned", Json),  # names of workers that are too small for it
    Column("owner", Text),  # the host that follows its run
    Column("dispatch", Text),  # the same for all that one claim leased together
    CheckConstraint("slot IS NULL OR slot IN (0, 1)", name="two_slots"),
    CheckConstraint("(slot IS NOT NULL) = (state IN ('leased', 'running'))", name="slot_while_active"),
    CheckConstraint(one_of("state", STATES), name="known_state"),
)
_queued = text("state = 'queued'")
_active = text("slot IS NOT NULL")
Index("ix_job_queue", job.c.user_id, job.c.seq, sqlite_where=_queued, postgresql_where=_queued)
Index("ix_job_deadline", job.c.deadline, sqlite_where=_queued, postgresql_where=_queued)
Index("ix_job_lease", job.c.lease_until, sqlite_where=_active, postgresql_where=_active)
# The two slots. Over active rows only, so that it also answers "who is active" without walking through all that ended.
Index(
    "uq_job_user_id_slot", job.c.user_id, job.c.slot, unique=True, sqlite_where=_active, postgresql_where=_active
)
Index("ix_job_person", job.c.user_id, job.c.seq)

result = Table(
    "result",
    metadata,
    _serial(),
    Column("job_id", Text, ForeignKey("job.id", ondelete="CASCADE"), nullable=False),
    Column("generation", Integer, nullable=False),
    Column("index", Integer, nullable=False),
    Column("sha256", Text, nullable=False, index=True),
    Column("content_type", Text, nullable=False),
    Column("size", Integer, nullable=False),
    Column("width", Integer, nullable=False),
    Column("height", Integer, nullable=False),
    Column("seed", BigInteger, nullable=False),
    Column("removed_at", Moment),  # retention took the file; the row still says what there was
    UniqueConstraint("job_id", "generation", "index"),
)

outbox = Table(
    "outbox",
    metadata,
    _serial(),  # also the order in which the rows of a job are posted
    Column("job_id", Text, ForeignKey("job.id", ondelete="CASCADE"), nullable=False),
    Column("generation", Integer, nullable=False),
    Column("kind", Text, nullable=False),
    Column("part", Integer, nullable=False),
    Column("state", Text, nullable=False, server_default="pending"),
    Column("epoch", Integer, nullable=False, server_default="0"),
    Column("attempts", Integer, nullable=False, server_default="0"),
    Column("guild_id", Text, nullable=False),
    Column("channel_id", Text, nullable=False),
    Column("locale", Text, nullable=False),
    Column("created_at", Moment, nullable=False, default=now()),
    Column("not_before", Moment),
    Column("lease_until", Moment),
    Column("first_try_at", Moment),
    Column("message_id", Text),
    Column("reason", Text),
    UniqueConstraint("job_id", "generation", "kind", "part"),
    CheckConstraint(one_of("state", DELIVERY_STATES), name="known_state"),
)
_open = text("state IN ('pending', 'sending')")
Index("ix_outbox_open", outbox.c.job_id, outbox.c.seq, sqlite_where=_open, postgresql_where=_open)
Index("ix_outbox_due", outbox.c.seq, sqlite_where=_open, postgresql_where=_open)

job_event = Table(
    "job_event",
    metadata,
    _serial(),
    Column("job_id", Text, nullable=False, index=True),
    Column("at", Moment, nullable=False, default=now()),
    Column("from_state", Text),
    Column("to_state", Text, nullable=False),
    Column("generation", Integer, nullable=False),
    Column("epoch", Integer, nullable=False),
    Column("actor", Text, nullable=False),
    Column("detail", Text),
    # Which transaction wrote it: PostgreSQL numbers rows before their commit, so only this says what a reader has seen.
    Column("xid", BigInteger, server_default=written_by()),
    Column("kept", Double),  # at an end: the part of the charge that stays, 1 all of it; elsewhere None
    Column("facts", Json),  # at a lease: why this job and not another, and its charge; at an end: the charge to settle
)
Index("ix_job_event_xid", job_event.c.xid)
Index("ix_job_event_at", job_event.c.at)

account = Table(
    "account",
    metadata,
    Column("user_id", Text, primary_key=True),
    Column("pool", Text, primary_key=True),
    Column("v", Double, nullable=False),
    Column("stamp", BigInteger, nullable=False, index=True),  # number of the claim that wrote it
)

pool = Table(
    "pool",
    metadata,
    Column("id", Text, primary_key=True),
    Column("v", Double, nullable=False),
    Column("facts", Json),  # what else the planner keeps of it
    Column("stamp", BigInteger, nullable=False),
)

claim_clock = Table(
    "claim_clock",
    metadata,
    Column("name", Text, primary_key=True),
    Column("stamp", BigInteger, nullable=False),  # claims that changed accounts so far
    Column("applied", Text, nullable=False),  # the part of the log that the accounts contain
)

person = Table(
    "person",
    metadata,
    Column("user_id", Text, primary_key=True),
    Column("served", BigInteger, nullable=False, index=True),  # fairness clock: written by claims only
)

session = Table(
    "session",
    metadata,
    Column("user_id", Text, primary_key=True),
    Column("guild_id", Text, primary_key=True),
    Column("channel_id", Text, nullable=False, unique=True),
    Column("made_at", Moment, nullable=False, default=now()),
    Column("kind", Text, nullable=False, server_default="channel"),  # or thread, where the guild has no room
    Column("about", Json),  # what its person chose for it
    Column("used_at", Moment),
    Column("archived_at", Moment),
)

worker = Table(
    "worker",
    metadata,
    Column("name", Text, primary_key=True),
    Column("offers", Json, nullable=False),
    Column("last_seen", Moment, nullable=False),
    Column("state", Text, nullable=False, server_default="active"),  # or paused, draining: the operator's word
    Column("loras", Json),  # their names
    Column("revised_at", Moment),  # the last change to its offers or state
    Column("forced_at", Double),  # seconds of the database's clock: when age last overruled a preference there
    Column("stamp", BigInteger, nullable=False, server_default="0"),
)

input_picture = Table(
    "input_picture",
    metadata,
    Column("user_id", Text, primary_key=True),
    Column("sha256", Text, primary_key=True),
    Column("width", Integer, nullable=False),
    Column("height", Integer, nullable=False),
    Column("created_at", Moment, nullable=False, default=now()),
    Column("last_used", Moment, nullable=False, default=now()),
)
Index("ix_input_picture_sha256", input_picture.c.sha256)
Index("ix_input_picture_last_used", input_picture.c.last_used)

worker_limit = Table(
    "worker_limit",
    metadata,
    Column("worker", Text, primary_key=True),
    Column("key", Text, primary_key=True),  # the batch key's canonical text
    Column("rows", Integer, nullable=False),
    Column("at", Moment, nullable=False),
)

measure = Table(
    "measure",
    metadata,
    Column("name", Text, primary_key=True),
    Column("facts", Json, nullable=False),
    Column("at", Moment, nullable=False),
)

host_lease = Table(
    "host_lease",
    metadata,
    Column("name", Text, primary_key=True),
    Column("owner", Text, nullable=False),
    Column("epoch", Integer, nullable=False),
    Column("until", Moment, nullable=False),
)

# -- members: what they like, publish, and may not -------------------------------------------------------------------------

preference = Table(
    "preference",
    metadata,
    Column("user_id", Text, primary_key=True),
    Column("choices", Json, nullable=False),
    Column("updated_at", Moment, nullable=False, default=now()),
)

favourite = Table(
    "favourite",
    metadata,
    Column("user_id", Text, primary_key=True),
    Column("job_id", Text, ForeignKey("job.id", ondelete="CASCADE"), primary_key=True),
    Column("made_at", Moment, nullable=False, default=now()),
)

publication = Table(
    "publication",
    metadata,
    _serial(),
    Column("job_id", Text, nullable=False),
    Column("index", Integer, nullable=False),
    Column("user_id", Text, nullable=False),
    Column("guild_id", Text, nullable=False),
    Column("channel_id", Text, nullable=False),
    Column("message_id", Text),
    Column("show_prompt", Boolean, nullable=False),
    Column("allow_remix", Boolean, nullable=False),
    Column("state", Text, nullable=False),  # posting, posted, undone
    Column("made_at", Moment, nullable=False, default=now()),
    UniqueConstraint("job_id", "index"),
)

vote = Table(
    "vote",
    metadata,
    Column("publication", BigInteger, ForeignKey("publication.seq", ondelete="CASCADE"), primary_key=True),
    Column("user_id", Text, primary_key=True),
)

strike = Table(
    "strike",
    metadata,
    _serial(),
    Column("user_id", Text, nullable=False),
    Column("at", Moment, nullable=False, default=now()),
    Column("rule", Text, nullable=False),
    Column("wish", Json, nullable=False),  # what was asked, for the appeal
    Column("state", Text, nullable=False),  # standing, appealed, lifted, upheld
)
Index("ix_strike_user_id_at", strike.c.user_id, strike.c.at)

ban = Table(
    "ban",
    metadata,
    Column("user_id", Text, primary_key=True),
    Column("by", Text, nullable=False),
    Column("at", Moment, nullable=False, default=now()),
    Column("until", Moment),  # None: for good
    Column("reason", Text, nullable=False),
)

audit = Table(
    "audit",
    metadata,
    _serial(),
    Column("at", Moment, nullable=False, default=now(), index=True),
    Column("actor", Text, nullable=False),
    Column("action", Text, nullable=False),
    Column("subject", Text, nullable=False),
    Column("detail", Json),
)
