"""The stand-in as a process of its own: prints its address, serves until it is ended."""

import asyncio
import sys

from tests.comfy_server.server import FakeComfy


async def serve(step_seconds: float) -> None:
    async with FakeComfy(step_seconds=step_seconds).serve() as server:
        print(server.url, flush=True)
        await asyncio.Event().wait()


asyncio.run(serve(float(sys.argv[1])))
