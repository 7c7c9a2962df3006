"""The janitor: what is older than the operator keeps goes, pictures first, then their jobs; then files that nobody names."""

import logging
from functools import partial

from database.engine import Database
from database.host_leases import HostLeases
from database.operating import still_named
from database.picture_store import FilePictureStore
from database.retention import Ages, Keep, is_treasured, sweep
from jobs.errors import StoreUnavailable
from jobs.ports import Clock

_log = logging.getLogger(__name__)

EVERY = 3600.0
JUST_PUT = 600.0
"""Seconds for which a file is left alone after its put: its row may still be on its way through a ledger that is slow."""
ORPHANED = 24 * 3600.0
_AT_ONCE = 500


class Janitor:
    """Sweeps for one host. Several may sweep: each round is one transaction, and only one host at a time is in it."""

    def __init__(
        self, *, database: Database, pictures: FilePictureStore, leases: HostLeases, clock: Clock, ages: Ages, keep: Keep = is_treasured
    ) -> None:
        self._database = database
        self._pictures = pictures
        self._leases = leases
        self._clock = clock
        self._ages = ages
        self._keep = keep

    async def run(self) -> None:
        """For ever, first a minute after the start."""
        await self._clock.sleep(60)
        while True:
            try:
                await self.sweep()
            except StoreUnavailable as error:
                _log.warning("nothing is swept now: %s", error)
            await self._clock.sleep(EVERY)

    async def sweep(self) -> tuple[int, int]:
        """Everything that is due. (pictures, jobs) that went. Raises StoreUnavailable."""
        pictures = jobs = 0
        while True:
            swept = await sweep(self._database, self._ages, keep=self._keep)
            # Rows first, files after: a crash between leaves a file that nobody names, which the last part finds.
            await self._pictures.remove(swept.digests, unused_for=JUST_PUT)
            pictures, jobs = pictures + swept.pictures, jobs + swept.jobs
            if not swept.more:
                break
        orphans = await self._sweep_orphans()
        await self._leases.forget_old(seconds=7 * ORPHANED)
        if pictures or jobs or orphans:
            _log.info("swept %d pictures, %d jobs, %d files that nobody named", pictures, jobs, orphans)
        return pictures, jobs

    async def _sweep_orphans(self) -> int:
        gone, after = 0, ""
        while names := await self._pictures.old(seconds=ORPHANED, limit=_AT_ONCE, after=after):
            named = await self._database.read(partial(still_named, digests=set(names)))
            gone += await self._pictures.remove([name for name in names if name not in named], unused_for=ORPHANED)
            after = names[-1]
        return gone
