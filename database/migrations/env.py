"""What Alembic runs: on the connection that :mod:`database.migrate` hands over, inside its transaction.

So a revision that fails leaves nothing behind, on both databases.
"""

from alembic import context

from database.tables import metadata

connection = context.config.attributes.get("connection")
if connection is None:
    raise RuntimeError("migrations run with `python -m database.migrate URL`: the alembic command has no connection")
context.configure(
    connection=connection,
    target_metadata=metadata,
    render_as_batch=True,  # SQLite alters tables by copying them
    compare_type=True,
)
context.run_migrations()
