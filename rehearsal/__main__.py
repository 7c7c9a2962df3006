"""`python -m rehearsal`: serve until Ctrl-C."""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import json
import signal
import sys
from dataclasses import replace
from pathlib import Path

from rehearsal import app
from rehearsal.config import RehearsalConfig, with_setting


def parse(arguments: list[str] | None = None) -> tuple[RehearsalConfig, Path | None]:
    """The configuration and the info file asked for. Exits with a sentence when they make no sense."""
    parser = argparse.ArgumentParser(prog="python -m rehearsal", description="A stand-in for Discord on loopback.")
    parser.add_argument("--host", default="127.0.0.1")
    parser.add_argument("--port", type=int, default=7861)
    parser.add_argument("--seed-guild", dest="seed", choices=["demo"], help="begin with a guild, channels and members")
    parser.add_argument("--token", help="the bot token to accept; made up when not given")
    parser.add_argument("--bot-name", default=RehearsalConfig().bot_name)
    parser.add_argument("--info-file", type=Path, help="write url, token and ids there as JSON")
    parser.add_argument("--intents", default="", help="privileged intents to switch on: members,message_content")
    parser.add_argument("--set", action="append", default=[], metavar="NAME=VALUE", help="change a limit or a time")
    given = parser.parse_args(arguments)
    config = RehearsalConfig(host=given.host, port=given.port, seed=given.seed, token=given.token, bot_name=given.bot_name)
    for intent in filter(None, given.intents.split(",")):
        if intent not in ("members", "message_content"):
            parser.error(f"There is no privileged intent {intent!r}; there are: members, message_content.")
        config = replace(config, **{f"{intent}_intent": True})
    try:
        for text in given.set:
            config = with_setting(config, text)
    except ValueError as error:
        parser.error(str(error))
    return config, given.info_file


async def serve(config: RehearsalConfig, info_file: Path | None) -> None:
    """Serve until SIGINT or SIGTERM."""
    stop = asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGINT, signal.SIGTERM):
        loop.add_signal_handler(number, stop.set)
    async with await app.start(config) as server:
        info = server.info()
        if info_file is not None:
            text = json.dumps(info, indent=2)
            await asyncio.to_thread(info_file.write_text, text)
        sys.stdout.write(f"rehearsal  {info['page']}\napi        {info['api']}\ntoken      {info['token']}\n")
        sys.stdout.flush()
        await stop.wait()


def main() -> int:
    """Exit status 0, or 1 with a sentence when the port is taken."""
    config, info_file = parse()
    with contextlib.suppress(KeyboardInterrupt):
        try:
            asyncio.run(serve(config, info_file))
        except OSError as error:
            sys.stderr.write(f"The rehearsal cannot listen on {config.host}:{config.port}: {error.strerror}.\n")
            return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
