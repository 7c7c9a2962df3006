"""The line: accounts of service, what leases charge, the log's transaction numbers, limits, measurements, host leases.

Only adds, each column nullable or with a default, so that hosts of the former version go on while this one migrates:
what they write lacks the new columns and is read as it always was.

Revision ID: 0002
"""

import sqlalchemy as sa
from alembic import op

from database.moments import Moment
from database.tables import Json

revision = "0002"
down_revision = "0001"
branch_labels = None
depends_on = None


def upgrade() -> None:
    _jobs()
    _log()
    _books()
    _workers()
    _inputs()
    op.create_table(
        "host_lease",
        sa.Column("name", sa.Text, nullable=False),
        sa.Column("owner", sa.Text, nullable=False),
        sa.Column("epoch", sa.Integer, nullable=False),
        sa.Column("until", Moment, nullable=False),
        sa.PrimaryKeyConstraint("name", name=op.f("pk_host_lease")),
    )


def _jobs() -> None:
    for column in (
        sa.Column("count", sa.SmallInteger, nullable=False, server_default="1"),
        sa.Column("lane", sa.Text),
        sa.Column("weight", sa.Double),
        sa.Column("cost", sa.Double),
        sa.Column("predicted", sa.Double),
        sa.Column("charged", Json),
        sa.Column("queued_at", Moment),
        sa.Column("params_hash", sa.Text),
        sa.Column("suspect", sa.SmallInteger, nullable=False, server_default="0"),
        sa.Column("died_on", Json),
        sa.Column("refunds", sa.SmallInteger, nullable=False, server_default="0"),
        sa.Column("shunned", Json),
        sa.Column("owner", sa.Text),
        sa.Column("dispatch", sa.Text),
    ):
        op.add_column("job", column)
    op.add_column("result", sa.Column("removed_at", Moment))


def _log() -> None:
    for column in (sa.Column("xid", sa.BigInteger), sa.Column("kept", sa.Double), sa.Column("facts", Json)):
        op.add_column("job_event", column)
    if op.get_bind().dialect.name == "postgresql":
        # In two steps: lines of before have no number, and every line from now on gets one, also from an older host.
        op.execute("ALTER TABLE job_event ALTER COLUMN xid SET DEFAULT (pg_current_xact_id()::text::bigint)")
    op.create_index("ix_job_event_xid", "job_event", ["xid"])
    op.create_index("ix_job_event_at", "job_event", ["at"])


def _books() -> None:
    op.create_table(
        "account",
        sa.Column("user_id", sa.Text, nullable=False),
        sa.Column("pool", sa.Text, nullable=False),
        sa.Column("v", sa.Double, nullable=False),
        sa.Column("stamp", sa.BigInteger, nullable=False),
        sa.PrimaryKeyConstraint("user_id", "pool", name=op.f("pk_account")),
    )
    op.create_index("ix_account_stamp", "account", ["stamp"])
    op.create_table(
        "pool",
        sa.Column("id", sa.Text, nullable=False),
        sa.Column("v", sa.Double, nullable=False),
        sa.Column("facts", Json),
        sa.Column("stamp", sa.BigInteger, nullable=False),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_pool")),
    )
    op.create_table(
        "claim_clock",
        sa.Column("name", sa.Text, nullable=False),
        sa.Column("stamp", sa.BigInteger, nullable=False),
        sa.Column("applied", sa.Text, nullable=False),
        sa.PrimaryKeyConstraint("name", name=op.f("pk_claim_clock")),
    )


def _workers() -> None:
    op.add_column("worker", sa.Column("state", sa.Text, nullable=False, server_default="active"))
    op.add_column("worker", sa.Column("loras", Json))
    op.add_column("worker", sa.Column("revised_at", Moment))
    op.add_column("worker", sa.Column("forced_at", sa.Double))
    op.add_column("worker", sa.Column("stamp", sa.BigInteger, nullable=False, server_default="0"))
    op.create_table(
        "worker_limit",
        sa.Column("worker", sa.Text, nullable=False),
        sa.Column("key", sa.Text, nullable=False),
        sa.Column("rows", sa.Integer, nullable=False),
        sa.Column("at", Moment, nullable=False),
        sa.PrimaryKeyConstraint("worker", "key", name=op.f("pk_worker_limit")),
    )
    op.create_table(
        "measure",
        sa.Column("name", sa.Text, nullable=False),
        sa.Column("facts", Json, nullable=False),
        sa.Column("at", Moment, nullable=False),
        sa.PrimaryKeyConstraint("name", name=op.f("pk_measure")),
    )


def _inputs() -> None:
    op.create_table(
        "input_picture",
        sa.Column("user_id", sa.Text, nullable=False),
        sa.Column("sha256", sa.Text, nullable=False),
        sa.Column("width", sa.Integer, nullable=False),
        sa.Column("height", sa.Integer, nullable=False),
        sa.Column("created_at", Moment, nullable=False),
        sa.Column("last_used", Moment, nullable=False),
        sa.PrimaryKeyConstraint("user_id", "sha256", name=op.f("pk_input_picture")),
    )
    op.create_index("ix_input_picture_sha256", "input_picture", ["sha256"])
    op.create_index("ix_input_picture_last_used", "input_picture", ["last_used"])
