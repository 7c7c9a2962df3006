"""Members: what they like, their favourites, what they published and who voted, strikes and bans, the audit log.

Only adds; a session learns whether it is a channel or a thread, what it is called, and when it was last used.

Revision ID: 0003
"""

import sqlalchemy as sa
from alembic import op

from database.moments import Moment
from database.tables import Json

revision = "0003"
down_revision = "0002"
branch_labels = None
depends_on = None

_serial = sa.BigInteger().with_variant(sa.Integer, "sqlite")


def upgrade() -> None:
    _sessions()
    _likes()
    _gallery()
    _order_in_the_house()


def _key() -> sa.Column[int]:
    return sa.Column("seq", _serial, sa.Identity(), nullable=False)


def _sessions() -> None:
    for column in (
        sa.Column("kind", sa.Text, nullable=False, server_default="channel"),
        sa.Column("about", Json),
        sa.Column("used_at", Moment),
        sa.Column("archived_at", Moment),
    ):
        op.add_column("session", column)


def _likes() -> None:
    op.create_table(
        "preference",
        sa.Column("user_id", sa.Text, nullable=False),
        sa.Column("choices", Json, nullable=False),
        sa.Column("updated_at", Moment, nullable=False),
        sa.PrimaryKeyConstraint("user_id", name=op.f("pk_preference")),
    )
    op.create_table(
        "favourite",
        sa.Column("user_id", sa.Text, nullable=False),
        sa.Column("job_id", sa.Text, nullable=False),
        sa.Column("made_at", Moment, nullable=False),
        sa.ForeignKeyConstraint(["job_id"], ["job.id"], name=op.f("fk_favourite_job_id"), ondelete="CASCADE"),
        sa.PrimaryKeyConstraint("user_id", "job_id", name=op.f("pk_favourite")),
    )


def _gallery() -> None:
    op.create_table(
        "publication",
        _key(),
        sa.Column("job_id", sa.Text, nullable=False),
        sa.Column("index", sa.Integer, nullable=False),
        sa.Column("user_id", sa.Text, nullable=False),
        sa.Column("guild_id", sa.Text, nullable=False),
        sa.Column("channel_id", sa.Text, nullable=False),
        sa.Column("message_id", sa.Text),
        sa.Column("show_prompt", sa.Boolean, nullable=False),
        sa.Column("allow_remix", sa.Boolean, nullable=False),
        sa.Column("state", sa.Text, nullable=False),
        sa.Column("made_at", Moment, nullable=False),
        sa.PrimaryKeyConstraint("seq", name=op.f("pk_publication")),
        sa.UniqueConstraint("job_id", "index", name=op.f("uq_publication_job_id_index")),
    )
    op.create_table(
        "vote",
        sa.Column("publication", sa.BigInteger, nullable=False),
        sa.Column("user_id", sa.Text, nullable=False),
        sa.ForeignKeyConstraint(["publication"], ["publication.seq"], name=op.f("fk_vote_publication"), ondelete="CASCADE"),
        sa.PrimaryKeyConstraint("publication", "user_id", name=op.f("pk_vote")),
    )


def _order_in_the_house() -> None:
    op.create_table(
        "strike",
        _key(),
        sa.Column("user_id", sa.Text, nullable=False),
        sa.Column("at", Moment, nullable=False),
        sa.Column("rule", sa.Text, nullable=False),
        sa.Column("wish", Json, nullable=False),
        sa.Column("state", sa.Text, nullable=False),
        sa.PrimaryKeyConstraint("seq", name=op.f("pk_strike")),
    )
    op.create_index("ix_strike_user_id_at", "strike", ["user_id", "at"])
    op.create_table(
        "ban",
        sa.Column("user_id", sa.Text, nullable=False),
        sa.Column("by", sa.Text, nullable=False),
        sa.Column("at", Moment, nullable=False),
        sa.Column("until", Moment),
        sa.Column("reason", sa.Text, nullable=False),
        sa.PrimaryKeyConstraint("user_id", name=op.f("pk_ban")),
    )
    op.create_table(
        "audit",
        _key(),
        sa.Column("at", Moment, nullable=False),
        sa.Column("actor", sa.Text, nullable=False),
        sa.Column("action", sa.Text, nullable=False),
        sa.Column("subject", sa.Text, nullable=False),
        sa.Column("detail", Json),
        sa.PrimaryKeyConstraint("seq", name=op.f("pk_audit")),
    )
    op.create_index("ix_audit_at", "audit", ["at"])
