"""Alembic's folder: ``env.py`` and one file a revision. Run by :mod:`database.migrate`."""
