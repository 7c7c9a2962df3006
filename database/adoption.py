"""T15: a host takes over the runs of one that is gone, instead of making their pictures again.

The run goes on under its epoch, because its worker knows it by that; what fences the former host is the row's owner. A host is gone
when its own lease has lapsed. A restarted host has the name of its former self (a file lock proves that one gone).
"""

from collections.abc import Collection

from sqlalchemy import exists, or_, select, update
from sqlalchemy.ext.asyncio import AsyncConnection

from database.history import Move, record
from database.host_leases import host_name
from database.moments import moment_from_now, now
from database.queue import ALL_ACTIVE
from database.rows import jobs_of
from database.tables import host_lease, job
from jobs.job import Job
from jobs.run import RunKey


async def adopt(tx: AsyncConnection, *, worker: str, owner: str, lease_seconds: float, but: Collection[RunKey]) -> list[Job]:
    """The runs on ``worker`` that are now this host's, those in ``but`` aside: its own from before, and those of hosts that are gone."""
    lives = exists(select(host_lease.c.name).where(host_lease.c.name == host_name(job.c.owner), host_lease.c.until > now()))
    takeable = or_(job.c.owner == owner, job.c.owner.is_(None), ~lives)
    query = select(job).where(ALL_ACTIVE, job.c.worker == worker, takeable).order_by(job.c.seq + 0)
    known = {(key.job_id, key.epoch) for key in but}
    rows = (await tx.execute(query.with_for_update(skip_locked=True))).mappings().all()
    before = {row["id"]: row for row in rows if (row["id"], row["epoch"]) not in known}
    if not before:
        return []
    values = {"owner": owner, "lease_until": moment_from_now(lease_seconds)}
    changed = (await tx.execute(update(job).where(job.c.id.in_(list(before))).values(values).returning(job))).mappings().all()
    changed = sorted(changed, key=lambda row: row["seq"])
    moves = [
        Move(row=row, was=row["state"], actor=owner, detail="taken over") for row in changed if before[row["id"]]["owner"] != owner
    ]
    await record(tx, moves)
    return jobs_of(changed)
