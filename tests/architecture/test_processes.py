"""Each process starts with the other's packages missing, and importing does nothing."""

import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]

BLOCKER = """
import sys
class Blocked:
    def __init__(self, names): self.names = names
    def find_spec(self, name, path=None, target=None):
        if name.split(".")[0] in self.names:
            raise ModuleNotFoundError(f"{name} is not installed on this machine", name=name)
sys.meta_path.insert(0, Blocked(%r))
import threading
%s
assert threading.active_count() == 1, "importing started a thread"
"""


def imported(modules: list[str], *, without: list[str]) -> subprocess.CompletedProcess[str]:
    code = BLOCKER % (set(without), "\n".join(f"import {module}" for module in modules))
    return subprocess.run([sys.executable, "-W", "ignore", "-c", code], cwd=ROOT, capture_output=True, text=True, timeout=120, check=False)


@pytest.mark.parametrize(
    ("modules", "without"),
    [
        (["bot.host", "bot.cli", "bot.doctor", "gateway.app"], ["torch", "diffusers", "transformers", "safetensors", "rehearsal", "housemodel"]),
        (["workers.server.cli"], ["discord", "sqlalchemy", "fastapi", "alembic", "asyncpg", "aiosqlite", "uvicorn", "rehearsal", "database", "bot", "gateway"]),
        (["jobs.desk", "jobs.dispatcher", "jobs.words", "flows.catalog"], ["aiohttp", "discord", "sqlalchemy", "fastapi", "torch", "PIL", "numpy"]),
        (["rehearsal.app", "rehearsal.client"], ["discord", "sqlalchemy", "fastapi", "torch", "jobs", "flows", "workers", "bot", "database", "gateway"]),
        (["housemodel", "housemodel.checker", "housemodel.scenes"], ["torch", "diffusers", "discord", "sqlalchemy", "jobs", "flows", "workers", "bot"]),
    ],
    ids=["host", "worker", "domain", "rehearsal", "house model"],
)  # fmt: skip
def test_a_process_needs_nothing_of_the_others(modules, without):
    result = imported(modules, without=without)
    assert result.returncode == 0, result.stderr[-2000:]


def test_the_blocker_blocks():
    assert imported(["aiohttp"], without=["aiohttp"]).returncode != 0
