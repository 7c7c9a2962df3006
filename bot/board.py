"""What `darkroom queue` shows: who runs, who waits and why, and how fair it was. Plain data, so that it travels as JSON."""

from dataclasses import asdict
from typing import Any

from database.engine import Database
from database.figures import read_figures
from database.host_leases import HostLeases
from database.operating import Operating
from jobs.desk import Desk
from jobs.feed import Feed
from jobs.job import Job, JobState
from jobs.line import Line
from jobs.ports import JobStore
from jobs.words import say
from workers.pool import Pool

Board = dict[str, Any]

SHOWN = 500
"""Waiting jobs told; the rest are counted."""


class BoardMaker:
    """Reads the board of a host. Without pool and desk (no host runs) it knows the ledger alone."""

    def __init__(
        self, *, database: Database, store: JobStore, desk: Desk | None = None, pool: Pool | None = None, feed: Feed | None = None
    ) -> None:
        self._database = database
        self._store = store
        self._desk = desk
        self._pool = pool
        self._feed = feed

    async def board(self) -> Board:
        """Everything at once. Raises StoreUnavailable."""
        jobs = await self._store.unfinished()
        active = [self._active(job) for job in jobs if job.state.is_active]
        waiting = await self._waiting([job for job in jobs if job.state is JobState.QUEUED])
        leases = await HostLeases(self._database, owner="").all()
        return {
            "live": self._desk is not None,
            "hosts": [{"name": lease.name, "owner": lease.owner, "lives": lease.lives} for lease in leases],
            "workers": await self._workers(),
            "active": active,
            "waiting": waiting[:SHOWN],
            "waiting_count": len(waiting),
        }

    async def fairness(self) -> Board:
        """The last hour's figures, and where everybody stands in the band."""
        figures = asdict(await read_figures(self._database))
        return {**figures, "band": await self._store.look(band)}

    async def _workers(self) -> list[Board]:
        states = await Operating(self._database).workers()
        members = {} if self._pool is None else {member.worker.name: member for member in self._pool.members}
        told: list[Board] = []
        for name in sorted({*states, *members}):
            member = members.get(name)
            report = None if member is None else member.report
            told.append(
                {
                    "name": name,
                    "state": states.get(name, "active"),
                    "here": member is not None,
                    "online": report is not None,
                    "trouble": "" if member is None else member.trouble,
                    "circuit": "" if member is None else str(member.breaker.circuit),
                    "device": "" if report is None else report.device,
                    "loaded": [] if report is None else sorted(report.loaded),
                    "places": 0 if member is None else member.places,
                }
            )
        return told

    def _active(self, job: Job) -> Board:
        progress = None if self._feed is None else self._feed.progress_of(job.id)
        return {
            **_facts(job),
            "worker": "" if job.lease is None else job.lease.worker,
            "step": None if progress is None else progress.step,
            "steps": job.order.steps,
            "eta": None if progress is None else progress.eta,
            "cancel": job.cancel_requested,
        }

    async def _waiting(self, jobs: list[Job]) -> list[Board]:
        if self._desk is None:
            return [{**_facts(job), "position": None, "why": "", "eta": None} for job in jobs]
        snapshot = await self._desk.snapshot()
        told: list[Board] = []
        for job in jobs:
            status = self._desk.outlook(job, snapshot)
            why = "" if status.why is None else say(f"why.{status.why.code}", "en", **status.why.details)
            eta = None if status.eta is None else [status.eta.low, status.eta.high]
            told.append({**_facts(job), "position": status.position, "why": why, "eta": eta})
        return sorted(told, key=lambda one: (one["position"] is None, one["position"] or 0, one["id"]))


def _facts(job: Job) -> Board:
    """What an operator may see of a job: never its words."""
    order = job.order
    return {
        "id": job.id,
        "person": job.user_id,
        "state": str(job.state),
        "what": f"{order.kind} {order.model} {order.width}×{order.height}" + (f" ×{order.rows}" if order.rows > 1 else ""),
        "attempt": job.attempt,
        "lost": job.lost,
        "alone": job.alone,
        "since": job.created_at.isoformat(),
    }


def band(line: Line) -> list[Board]:
    """Everybody who contends: how far above the clock, as a part of what is allowed. Outside [-ρ/…, 1] the promise is broken."""
    rules, told = line.rules, []
    for user, pool in line.contending():
        weight = line.person(user).weight
        room = rules.reach + rules.overshoot / weight
        above = line.books.v(user, pool) - line.books.pools[pool].clock
        told.append(
            {
                "person": user,
                "pool": pool,
                "above": above,
                "position": above / room,
                "alert": not -rules.sag / weight <= above + 1e-9 <= room + 2e-9,
            }
        )
    return sorted(told, key=lambda one: one["position"])[:SHOWN]
