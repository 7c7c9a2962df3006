"""A real PgBouncer in transaction mode before the tests' PostgreSQL, where one is installed; else the test is skipped with a sentence."""

import os
import shutil
import socket
import subprocess
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import pytest

from tests.postgres import NOBODY, PostgresServer

MISSING = "No PgBouncer here: install the package `pgbouncer`. What is said about poolers stands on the other tests then."

_SETTINGS = """[databases]
* = host=127.0.0.1 port={server} user=darkroom

[pgbouncer]
listen_addr = 127.0.0.1
listen_port = {port}
unix_socket_dir =
auth_type = any
pool_mode = transaction
default_pool_size = 3
max_client_conn = 100
"""


@contextmanager
def pooling(server: PostgresServer) -> Iterator[int]:
    """The port of a PgBouncer with three connections for everybody, so that they pass from hand to hand."""
    program = shutil.which("pgbouncer") or shutil.which("pgbouncer", path="/usr/sbin")
    if program is None:
        pytest.skip(MISSING)
    with tempfile.TemporaryDirectory(prefix="darkroom-pooler-") as home, socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port: int = free.getsockname()[1]
        free.close()
        settings = Path(home) / "pgbouncer.ini"
        settings.write_text(_SETTINGS.format(server=server.port, port=port))
        who = {"user": NOBODY, "group": NOBODY, "extra_groups": []} if os.geteuid() == 0 else {}  # it refuses to be root
        for path in (Path(home), settings):
            path.chmod(0o755)
        with (Path(home) / "log").open("wb") as log:
            process = subprocess.Popen([program, settings], stdout=log, stderr=log, cwd=home, **who)
        try:
            _wait_for(port, process, Path(home) / "log")
            yield port
        finally:
            process.kill()
            process.wait(10)


def _wait_for(port: int, process: subprocess.Popen[bytes], log: Path) -> None:
    give_up = time.monotonic() + 15
    while True:
        assert process.poll() is None and time.monotonic() < give_up, log.read_text(errors="replace")[-2000:]
        with suppress(OSError), socket.create_connection(("127.0.0.1", port), timeout=1):
            return
        time.sleep(0.05)
