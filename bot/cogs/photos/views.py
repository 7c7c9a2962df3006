"""Buttons on cards. Their ids carry all they need, so that they work after any restart."""

import re
from typing import Any, Self

import discord

from bot.cogs.interactions import KindItem, answer_in_time
from jobs.desk import Desk
from jobs.errors import JobNotFound
from jobs.job import Job, JobId, JobState, UserId
from jobs.words import say


class CancelButton(KindItem, template=r"job:(?P<job>[A-Za-z0-9_-]{1,64}):cancel:0"):
    """Stops the job of its card, for its owner only; pressing it twice does what pressing it once does."""

    def __init__(self, job_id: JobId, locale: str | None) -> None:
        label = say("verb.cancel", locale)
        super().__init__(
            discord.ui.Button(style=discord.ButtonStyle.secondary, label=label, custom_id=f"job:{job_id}:cancel:0")
        )
        self._job_id = job_id

    @classmethod
    async def from_custom_id(
        cls, interaction: discord.Interaction, item: discord.ui.Item[Any], match: re.Match[str], /
    ) -> Self:
        """The button of a card that may be older than this process."""
        return cls(JobId(match["job"]), str(interaction.locale))

    async def act(self, interaction: discord.Interaction) -> None:
        """Answer with what became of it."""
        desk: Desk = interaction.client.desk  # type: ignore[attr-defined]  # DarkroomBot's; see bot.client
        locale = str(interaction.locale)
        user_id = UserId(f"discord:{interaction.user.id}")
        await answer_in_time(interaction, stop_job(desk, self._job_id, user_id, locale))


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
