"""Reads the flows again while the host runs: for requests from now on; what is under way ends as it began."""

import asyncio
from collections.abc import Sequence
from pathlib import Path

from flows.catalog import read_catalog
from workers.drivers.comfy.worker import ComfyWorker
from workers.pool import Pool


class FlowReload:
    """The shipped flows and those of the operator's folder, for the pool and the ComfyUI servers of this host."""

    def __init__(self, *, folder: Path | None, pool: Pool, comfy: Sequence[ComfyWorker]) -> None:
        self._folder = folder
        self._pool = pool
        self._comfy = tuple(comfy)

    async def __call__(self, *, apply: bool) -> int:
        """How many flows there are; with ``apply`` they are taken over. Raises FlowError: then nothing is changed."""
        catalog = await asyncio.to_thread(read_catalog, more=[self._folder] if self._folder else [])
        if apply:
            self._pool.ship(catalog.shipped, catalog.flow("text_to_image").default_model)
            for worker in self._comfy:
                worker.use(catalog.comfy)
        return len(catalog.flows) + len(catalog.comfy)
