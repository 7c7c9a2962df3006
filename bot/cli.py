"""The ``darkroom`` command: host, worker, doctor, migrate, key, demo. Each part is imported only when it is asked for."""

import argparse
import asyncio
import logging
import os
import signal
import sys
from collections.abc import Callable, Coroutine, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any

from bot.operator_cli import add_commands
from bot.settings import Settings, SettingsError, read_settings
from jobs.log_lines import log_to

_log = logging.getLogger(__name__)

LIBRARIES = {
    "discord": "INFO", "discord.client": "ERROR", "discord.gateway": "WARNING", "alembic": "WARNING", "uvicorn": "WARNING",
    "websockets": "INFO", "sqlalchemy": "WARNING", "aiosqlite": "WARNING", "asyncpg": "WARNING",
}  # fmt: skip
"""At most so much of other people's logs, also with LOG_LEVEL=DEBUG: below it they write bodies, addresses with interaction tokens and
statements with their values, which is what people typed. discord.client warns that it cannot do voice; others tell of each step."""


def main(argv: Sequence[str] | None = None) -> int:
    """Run one subcommand and return its exit status."""
    arguments = list(sys.argv[1:] if argv is None else argv)
    if arguments[:1] == ["worker"]:  # the worker has options of its own, and nothing else of ours is loaded there
        from workers.server.cli import main as worker_main

        return worker_main(arguments[1:])
    options = _parser().parse_args(arguments)
    try:
        return options.run(options)
    except SettingsError as error:
        print("These settings cannot be used:", *[f"  - {fault}" for fault in error.faults], sep="\n", file=sys.stderr)
        print("They are read from .env and the environment; .env.example explains each.", file=sys.stderr)
        return 2
    except KeyboardInterrupt:
        return 130


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="darkroom", description="A self-hosted photo lab for communities.")
    commands = parser.add_subparsers(required=True, metavar="COMMAND")
    _command(commands, "host", _host, "serve Discord and the web page, and send work to the GPUs")
    _command(commands, "worker", _no_worker_here, "make pictures on this machine (see `darkroom worker --help`)")
    _command(commands, "doctor", _doctor, "say what is right and wrong in this set-up, and what to do")
    _command(commands, "migrate", _migrate, "bring the database to this version's shape")
    key = _command(commands, "key", _key, "make a key for the HTTP door")
    key.add_argument("name", help="whose key it is: letters, digits, - and _")
    flows = _command(commands, "flows", _flows, "hold the flows against what your ComfyUI servers have")
    flows.add_argument("what", choices=["check"], help="check: which nodes and model files are missing on which server")
    flows.add_argument("--url", action="append", default=[], help="this server in place of those in COMFY_URLS; may be repeated")
    add_commands(partial(_command, commands), _settings)
    demo = _command(commands, "demo", _demo, "the whole lab on this machine: rehearsal, bot, worker, page")
    demo.add_argument("--once", action="store_true", help="show six members their pictures, then stop")
    demo.add_argument("--folder", default="storage/demo", help="where the demo keeps its files")
    return parser


def _command(commands: Any, name: str, run: Callable[[argparse.Namespace], int], description: str) -> argparse.ArgumentParser:
    parser: argparse.ArgumentParser = commands.add_parser(name, help=description, description=description)
    parser.set_defaults(run=run)
    return parser


def environment() -> Mapping[str, str | None]:
    """``.env`` of the working folder, under the real environment's values."""
    from dotenv import dotenv_values

    return {**dotenv_values(".env"), **os.environ}  # noqa: TID251  the one place that reads the environment


def _settings() -> Settings:
    settings = read_settings(environment())
    log_to(level=settings.log_level, layout="%(asctime)s %(levelname)-7s %(name)s: %(message)s")
    for name, level in LIBRARIES.items():
        logging.getLogger(name).setLevel(level)
    return settings


def _until_stopped(serve: Callable[[asyncio.Event], Coroutine[Any, Any, int]]) -> int:
    """Run until SIGINT or SIGTERM asks to stop; a second one ends the process at once."""

    async def run() -> int:
        stop = asyncio.Event()

        def asked(name: str) -> None:
            if stop.is_set():
                os._exit(130)  # crash-only: nothing depends on the rest of a clean shutdown
            _log.info("%s: stopping; once more ends at once", name)
            stop.set()

        for number in (signal.SIGINT, signal.SIGTERM):
            asyncio.get_running_loop().add_signal_handler(number, asked, number.name)
        return await serve(stop)

    return asyncio.run(run())


def _host(_: argparse.Namespace) -> int:
    from bot.host import HostError, serve
    from bot.pauses import set_aside, shorten_turns

    settings = _settings()
    shorten_turns()
    set_aside()
    try:
        return _until_stopped(lambda stop: serve(settings, stop))
    except HostError as error:
        print(f"darkroom host: {error}", file=sys.stderr)
        return 2


def _no_worker_here(_: argparse.Namespace) -> int:
    raise AssertionError("main() hands `worker` on before any option is read")


def _doctor(_: argparse.Namespace) -> int:
    from bot.doctor import examine

    return asyncio.run(examine(environment()))


def _flows(options: argparse.Namespace) -> int:
    from flows.catalog import FlowError, read_catalog
    from workers.drivers.comfy.check import check_flows
    from workers.drivers.comfy.fleet import AddressError, keys_of

    settings = _settings()
    urls = tuple(url.rstrip("/") for url in options.url) or settings.comfy_urls
    if not urls:
        print("There is no ComfyUI server to check: name them in COMFY_URLS, or one with --url.", file=sys.stderr)
        return 2

    async def check() -> bool:
        flows = read_catalog(more=[settings.flows] if settings.flows else []).comfy
        well = True
        async for good, line in check_flows(urls, flows, keys_of(settings.comfy_api_key, urls)):
            print(line)
            well = well and good
        return well

    try:
        return 0 if asyncio.run(check()) else 1
    except (FlowError, AddressError) as error:
        print(error, file=sys.stderr)
        return 2


def _migrate(_: argparse.Namespace) -> int:
    from database.migrate import migrate

    settings = _settings()
    settings.storage.mkdir(parents=True, exist_ok=True)
    asyncio.run(migrate(settings.ledger_url))
    print("The database has this version's shape.")
    return 0


def _key(options: argparse.Namespace) -> int:
    from gateway.auth import make_key

    try:
        secret, line = make_key(options.name)
    except ValueError as error:
        print(error, file=sys.stderr)
        return 2
    print(f"The key, shown only this once:\n\n  {secret}\n\nAdd this to API_KEYS in .env and restart the host:\n\n  {line}\n")
    return 0


def _demo(options: argparse.Namespace) -> int:
    from bot.demo import show

    return _until_stopped(lambda stop: show(stop, once=options.once, folder=Path(options.folder)))


if __name__ == "__main__":
    sys.exit(main())
