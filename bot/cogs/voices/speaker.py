"""Says the right line for a job: in its person's chosen voice and language, at the right turn."""

from collections.abc import Mapping

from bot.cogs.members import Members
from bot.cogs.photos.text import shown
from bot.cogs.preferring import Choices
from bot.cogs.voices.persona import PLAIN, Occasion, Persona
from jobs.errors import StoreUnavailable
from jobs.job import Job


class Speaker:
    """Turns come from the ledger, so that the same job says the same line in every process, and no line comes twice in a row."""

    def __init__(self, *, members: Members, choices: Choices, personas: Mapping[str, Persona], usual: str = PLAIN) -> None:
        self._members = members
        self._choices = choices
        self._personas = personas
        self._usual = usual

    @property
    def personas(self) -> Mapping[str, Persona]:
        """Every voice there is, the house's own aside."""
        return self._personas

    async def line(self, job: Job, occasion: Occasion) -> str | None:
        """What the persona says; None where the house's own sentence is to be said."""
        choices = await self._choices.of(job.user_id)
        persona = self._personas.get(choices.persona or self._usual)
        if persona is None:
            return None
        ending = "failed" if occasion == "failed" else "done"
        try:
            asked, ended = await self._members.turn_of(job.user_id, job.id, ending)
        except StoreUnavailable:
            return None
        turn = asked if occasion == "waiting" else ended
        # An operator's line is text like any other: it pings nobody and formats nothing.
        return shown(persona.line(occasion, job.place.locale if job.place else None, turn=turn, salt=job.user_id), limit=200)
