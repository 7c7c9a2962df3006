"""What /metrics tells: the ledger's last hour, the line as it stands, and the workers."""

from database.engine import Database
from database.figures import read_figures
from gateway.routes.metrics import Readings
from jobs.line import Line
from jobs.ports import Fleet, JobStore


class MetricsReader:
    """Reads every gauge anew."""

    def __init__(self, *, database: Database, store: JobStore, fleet: Fleet) -> None:
        self._database = database
        self._store = store
        self._fleet = fleet

    async def read(self) -> Readings:
        """By name. Raises StoreUnavailable."""
        figures = await read_figures(self._database)
        waiting, active, low, high, outside = await self._store.look(_standing)
        return {
            "jobs_waiting": ("Jobs that wait", waiting),
            "jobs_active": ("Jobs in a worker's hands", active),
            "workers_online": ("Workers of this host that answer", len(self._fleet.online())),
            "jobs_done_hour": ("Jobs done in the last hour", figures.done),
            "jobs_set_aside_hour": ("Jobs set aside in the last hour because two workers died of them: look when not 0", figures.set_aside),
            "people_served_hour": ("People served in the last hour", figures.people),
            "jain_index": ("Jain index of service by weight, last hour", figures.jain),
            "wait_seconds_p50": ("Seconds from submission to start, median of the last hour", figures.wait_p50),
            "wait_seconds_p95": ("The same, 95th percentile", figures.wait_p95),
            "slowdown_p50": ("Submission to end over the worker's own time, median", figures.slowdown_p50),
            "slowdown_p95": ("The same, 95th percentile", figures.slowdown_p95),
            "swaps_per_hour": ("Passes led by another model than the one before", figures.swaps_per_hour),
            "jobs_per_pass": ("Jobs a claim, mean of the last hour", figures.mean_batch),
            "band_position_min": ("Lowest place in the band of those who wait", low),
            "band_position_max": ("Highest place; above 1 the promise is broken", high),
            "band_outside": ("People outside the band: alert when not 0", outside),
        }


def _standing(line: Line) -> tuple[int, int, float | None, float | None, int]:
    rules = line.rules
    places: list[float] = []
    outside = 0
    for user, pool in line.contending():
        weight = line.person(user).weight
        room = rules.reach + rules.overshoot / weight
        above = line.books.v(user, pool) - line.books.pools[pool].clock
        places.append(above / room)
        outside += not -rules.sag / weight - 1e-9 <= above <= room + 1e-9
    return len(line.waiting), len(line.active), min(places, default=None), max(places, default=None), outside
