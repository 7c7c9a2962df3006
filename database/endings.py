"""What each write of a lease holder changes (T3, T6, T7, T8, T10, T11, T13)."""

from collections.abc import Mapping
from dataclasses import asdict
from datetime import datetime, timedelta
from functools import partial
from typing import Any

from database.fenced import Ending, Write
from database.rows import Row
from jobs.job import SOLO_DEATHS_MAX, Failure, JobState, Making, Picture
from jobs.ports import RowLimit
from jobs.run import RunKey


def accepting(key: RunKey) -> Write:
    """T3. leased → running."""
    return Write(key=key, change=_accept, outcomes=frozenset())


def finishing(key: RunKey, pictures: tuple[Picture, ...], making: Making, *, executed: float) -> Write:
    """T6. → done."""
    values = {"state": JobState.DONE.value, "making": dict(vars(making)), "failure": None}
    return Write(
        key=key,
        change=partial(_end, values=values),
        outcomes=frozenset({JobState.DONE}),
        ending=Ending(executed=executed),
        pictures=pictures,
    )


def failing(key: RunKey, failure: Failure, *, executed: float) -> Write:
    """T10. → failed."""
    values = {"state": JobState.FAILED.value, "failure": asdict(failure)}
    return Write(
        key=key,
        change=partial(_end, values=values),
        outcomes=frozenset({JobState.FAILED}),
        ending=Ending(executed=executed),
        detail=failure.code,
    )


def cancelling(key: RunKey, *, executed: float) -> Write:
    """T13. → cancelled."""
    return Write(
        key=key,
        change=partial(_end, values={"state": JobState.CANCELLED.value}),
        outcomes=frozenset({JobState.CANCELLED}),
        ending=Ending(executed=executed),
    )


def retrying(
    key: RunKey,
    reason: Failure,
    *,
    delay_seconds: float,
    attempts_max: int | None,
    executed: float,
    died: bool,
    shun: bool,
    limit: RowLimit | None,
) -> Write:
    """T7, T8, T11. → queued, or the end of its tries."""
    again = partial(
        _again, reason=reason, delay=timedelta(seconds=delay_seconds), attempts_max=attempts_max, died=died, shun=shun
    )
    return Write(
        key=key,
        change=again,
        outcomes=frozenset({JobState.QUEUED, JobState.FAILED, JobState.CANCELLED, JobState.QUARANTINED}),
        ending=Ending(executed=executed, worker_to_blame=True),
        detail=reason.code,
        limit=limit,
    )


def _accept(row: Row, at: datetime) -> Mapping[str, Any]:
    return {} if row["state"] == JobState.RUNNING else {"state": JobState.RUNNING.value, "started_at": at}


def _end(_row: Row, at: datetime, *, values: Mapping[str, Any]) -> Mapping[str, Any]:
    return {**values, "finished_at": at}


def _again(
    row: Row, at: datetime, *, reason: Failure, delay: timedelta, attempts_max: int | None, died: bool, shun: bool
) -> Mapping[str, Any]:
    """Who wanted it stopped gets it stopped; else its tries decide, and whether workers die of it."""
    attempt = row["attempt"] + (attempts_max is not None)
    values: dict[str, Any] = {"attempt": attempt}
    if died:
        values |= _suspected(row)
    if shun:
        values["shunned"] = sorted({*(row["shunned"] or ()), row["worker"]})
    if row["cancel_requested"]:
        return {**values, "state": JobState.CANCELLED.value, "finished_at": at}
    if len(values.get("died_on") or ()) >= SOLO_DEATHS_MAX:
        failure = Failure(code="quarantined", details={"n": SOLO_DEATHS_MAX})
        return {**values, "state": JobState.QUARANTINED.value, "failure": asdict(failure), "finished_at": at}
    if attempts_max is not None and attempt >= attempts_max:
        return {**values, "state": JobState.FAILED.value, "failure": asdict(reason), "finished_at": at}
    return {**values, "state": JobState.QUEUED.value, "not_before": at + delay, "queued_at": at, "started_at": None}


def _suspected(row: Row) -> dict[str, Any]:
    """A suspect ran alone, so this death is its own; in company it only becomes a suspect."""
    values: dict[str, Any] = {"suspect": row["suspect"] + 1}
    if row["suspect"]:
        values["died_on"] = sorted({*(row["died_on"] or ()), row["worker"]})
    return values
