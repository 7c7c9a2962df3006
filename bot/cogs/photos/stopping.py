"""What the buttons of a waiting card do."""

from jobs.desk import Desk
from jobs.errors import JobNotFound
from jobs.job import Job, JobId, JobState, UserId
from jobs.words import say


async def stop_job(desk: Desk, job_id: JobId, user_id: UserId, locale: str) -> str:
    """Cancel if the job is this person's, and say in one sentence what happened."""
    try:
        status = await desk.status(job_id, user_id=None)
    except JobNotFound:
        return say("limit.expired_button", locale)
    if status.job.user_id != user_id:
        return say("limit.not_yours", locale)
    return _outcome(await desk.cancel(job_id, user_id=user_id), locale)


def _outcome(job: Job, locale: str) -> str:
    match job.state:
        case JobState.DONE:
            return say("cancel.late", locale)
        case JobState.CANCELLED:
            return say("cancel.queued" if job.started_at is None else "photo.stopped", locale)
        case JobState.FAILED | JobState.EXPIRED | JobState.QUARANTINED:
            return say("fail.title", locale)
        case _:
            return say("cancel.asked", locale)
