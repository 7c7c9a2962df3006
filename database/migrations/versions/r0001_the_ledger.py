"""The ledger: jobs, results, outbox, history, people, sessions, workers.

Revision ID: 0001
"""

import sqlalchemy as sa
from alembic import op

from database.moments import Moment
from database.tables import Json

revision = "0001"
down_revision = None
branch_labels = None
depends_on = None

_serial = sa.BigInteger().with_variant(sa.Integer, "sqlite")
_queued = sa.text("state = 'queued'")
_active = sa.text("slot IS NOT NULL")
_open = sa.text("state IN ('pending', 'sending')")


def upgrade() -> None:
    _job()
    _result()
    _outbox()
    _history()
    _people()


def _key() -> sa.Column[int]:
    return sa.Column("seq", _serial, sa.Identity(), nullable=False)


def _job() -> None:
    op.create_table(
        "job",
        _key(),
        sa.Column("id", sa.Text, nullable=False),
        sa.Column("idempotency_key", sa.Text, nullable=False),
        sa.Column("user_id", sa.Text, nullable=False),
        sa.Column("door", sa.Text, nullable=False),
        sa.Column("kind", sa.Text, nullable=False),
        sa.Column("model", sa.Text, nullable=False),
        sa.Column("width", sa.Integer, nullable=False),
        sa.Column("height", sa.Integer, nullable=False),
        sa.Column("order", Json, nullable=False),
        sa.Column("state", sa.Text, nullable=False),
        sa.Column("generation", sa.Integer, nullable=False, server_default="0"),
        sa.Column("attempt", sa.Integer, nullable=False, server_default="0"),
        sa.Column("lost", sa.Integer, nullable=False, server_default="0"),
        sa.Column("epoch", sa.Integer, nullable=False, server_default="0"),
        sa.Column("version", sa.Integer, nullable=False, server_default="0"),
        sa.Column("slot", sa.SmallInteger),
        sa.Column("worker", sa.Text),
        sa.Column("lease_until", Moment),
        sa.Column("cancel_requested", sa.Boolean, nullable=False, server_default=sa.text("false")),
        sa.Column("guild_id", sa.Text),
        sa.Column("channel_id", sa.Text),
        sa.Column("locale", sa.Text),
        sa.Column("failure", Json),
        sa.Column("making", Json),
        sa.Column("created_at", Moment, nullable=False),
        sa.Column("not_before", Moment),
        sa.Column("deadline", Moment, nullable=False),
        sa.Column("started_at", Moment),
        sa.Column("finished_at", Moment),
        sa.PrimaryKeyConstraint("seq", name=op.f("pk_job")),
        sa.UniqueConstraint("id", name=op.f("uq_job_id")),
        sa.UniqueConstraint("idempotency_key", name=op.f("uq_job_idempotency_key")),
        sa.CheckConstraint("slot IS NULL OR slot IN (0, 1)", name=op.f("ck_job_two_slots")),
        sa.CheckConstraint(
            "(slot IS NOT NULL) = (state IN ('leased', 'running'))", name=op.f("ck_job_slot_while_active")
        ),
        sa.CheckConstraint(
            "state IN ('queued', 'leased', 'running', 'done', 'failed', 'cancelled', 'expired', 'quarantined')",
            name=op.f("ck_job_known_state"),
        ),
    )
    _job_indexes()


def _job_indexes() -> None:
    op.create_index("ix_job_queue", "job", ["user_id", "seq"], sqlite_where=_queued, postgresql_where=_queued)
    op.create_index("ix_job_deadline", "job", ["deadline"], sqlite_where=_queued, postgresql_where=_queued)
    op.create_index("ix_job_lease", "job", ["lease_until"], sqlite_where=_active, postgresql_where=_active)
    op.create_index(
        "uq_job_user_id_slot", "job", ["user_id", "slot"], unique=True, sqlite_where=_active, postgresql_where=_active
    )
    op.create_index("ix_job_person", "job", ["user_id", "seq"])


def _result() -> None:
    op.create_table(
        "result",
        _key(),
        sa.Column("job_id", sa.Text, nullable=False),
        sa.Column("generation", sa.Integer, nullable=False),
        sa.Column("index", sa.Integer, nullable=False),
        sa.Column("sha256", sa.Text, nullable=False),
        sa.Column("content_type", sa.Text, nullable=False),
        sa.Column("size", sa.Integer, nullable=False),
        sa.Column("width", sa.Integer, nullable=False),
        sa.Column("height", sa.Integer, nullable=False),
        sa.Column("seed", sa.BigInteger, nullable=False),
        sa.PrimaryKeyConstraint("seq", name=op.f("pk_result")),
        sa.ForeignKeyConstraint(["job_id"], ["job.id"], name=op.f("fk_result_job_id"), ondelete="CASCADE"),
        sa.UniqueConstraint("job_id", "generation", "index", name=op.f("uq_result_job_id_generation_index")),
    )
    op.create_index("ix_result_sha256", "result", ["sha256"])


def _outbox() -> None:
    op.create_table(
        "outbox",
        _key(),
        sa.Column("job_id", sa.Text, nullable=False),
        sa.Column("generation", sa.Integer, nullable=False),
        sa.Column("kind", sa.Text, nullable=False),
        sa.Column("part", sa.Integer, nullable=False),
        sa.Column("state", sa.Text, nullable=False, server_default="pending"),
        sa.Column("epoch", sa.Integer, nullable=False, server_default="0"),
        sa.Column("attempts", sa.Integer, nullable=False, server_default="0"),
        sa.Column("guild_id", sa.Text, nullable=False),
        sa.Column("channel_id", sa.Text, nullable=False),
        sa.Column("locale", sa.Text, nullable=False),
        sa.Column("created_at", Moment, nullable=False),
        sa.Column("not_before", Moment),
        sa.Column("lease_until", Moment),
        sa.Column("first_try_at", Moment),
        sa.Column("message_id", sa.Text),
        sa.Column("reason", sa.Text),
        sa.PrimaryKeyConstraint("seq", name=op.f("pk_outbox")),
        sa.ForeignKeyConstraint(["job_id"], ["job.id"], name=op.f("fk_outbox_job_id"), ondelete="CASCADE"),
        sa.UniqueConstraint("job_id", "generation", "kind", "part", name=op.f("uq_outbox_job_id_generation_kind_part")),
        sa.CheckConstraint("state IN ('pending', 'sending', 'sent', 'dead')", name=op.f("ck_outbox_known_state")),
    )
    op.create_index("ix_outbox_open", "outbox", ["job_id", "seq"], sqlite_where=_open, postgresql_where=_open)
    op.create_index("ix_outbox_due", "outbox", ["seq"], sqlite_where=_open, postgresql_where=_open)


def _history() -> None:
    op.create_table(
        "job_event",
        _key(),
        sa.Column("job_id", sa.Text, nullable=False),
        sa.Column("at", Moment, nullable=False),
        sa.Column("from_state", sa.Text),
        sa.Column("to_state", sa.Text, nullable=False),
        sa.Column("generation", sa.Integer, nullable=False),
        sa.Column("epoch", sa.Integer, nullable=False),
        sa.Column("actor", sa.Text, nullable=False),
        sa.Column("detail", sa.Text),
        sa.PrimaryKeyConstraint("seq", name=op.f("pk_job_event")),
    )
    op.create_index("ix_job_event_job_id", "job_event", ["job_id"])


def _people() -> None:
    op.create_table(
        "person",
        sa.Column("user_id", sa.Text, nullable=False),
        sa.Column("served", sa.BigInteger, nullable=False),
        sa.PrimaryKeyConstraint("user_id", name=op.f("pk_person")),
    )
    op.create_index("ix_person_served", "person", ["served"])
    op.create_table(
        "session",
        sa.Column("user_id", sa.Text, nullable=False),
        sa.Column("guild_id", sa.Text, nullable=False),
        sa.Column("channel_id", sa.Text, nullable=False),
        sa.Column("made_at", Moment, nullable=False),
        sa.PrimaryKeyConstraint("user_id", "guild_id", name=op.f("pk_session")),
        sa.UniqueConstraint("channel_id", name=op.f("uq_session_channel_id")),
    )
    op.create_table(
        "worker",
        sa.Column("name", sa.Text, nullable=False),
        sa.Column("offers", Json, nullable=False),
        sa.Column("last_seen", Moment, nullable=False),
        sa.PrimaryKeyConstraint("name", name=op.f("pk_worker")),
    )
