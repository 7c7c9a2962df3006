"""Fixtures of the worker's tests."""

from pathlib import Path

import pytest

from tests.workers.engine_fixtures import save_models


@pytest.fixture(scope="session")
def models_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with two tiny random models; see `save_models`."""
    pytest.importorskip("diffusers", reason="a host without the worker's packages has no engine to test")
    return save_models(tmp_path_factory.mktemp("engine"))
