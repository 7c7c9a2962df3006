"""Fixtures of the acceptance tests; everything here starts real processes, so all of it is slow."""

from pathlib import Path

import pytest

from tests.databases import database_url, migrated_file, migrated_template  # noqa: F401  fixtures
from tests.postgres import postgres_server  # noqa: F401  fixture


def pytest_collection_modifyitems(items):
    here = Path(__file__).parent
    for item in items:
        if here in item.path.parents:
            item.add_marker(pytest.mark.slow)
            item.add_marker(pytest.mark.timeout(240))
