"""Says the right line for a job: in its person's chosen voice and language, at the right turn."""

from collections.abc import Awaitable, Callable, Mapping

from bot.cogs.members import Members
from bot.cogs.photos.text import shown
from bot.cogs.preferring import Choices
from bot.cogs.voices.persona import PLAIN, Occasion, Persona
from jobs.errors import StoreUnavailable
from jobs.job import Job

Voice = Callable[[Job], Awaitable[str | None]]


class Speaker:
    """Turns come from the ledger, so that the same job says the same line in every process, and no line comes twice in a row."""

    def __init__(
        self, *, members: Members, choices: Choices, personas: Mapping[str, Persona], usual: str = PLAIN, of_studio: Voice | None = None
    ) -> None:
        self._members = members
        self._choices = choices
        self._personas = personas
        self._usual = usual
        self._of_studio = of_studio

    @property
    def personas(self) -> Mapping[str, Persona]:
        """Every voice there is, the house's own aside."""
        return self._personas

    def use(self, personas: Mapping[str, Persona]) -> None:
        """These are the voices from now on."""
        self._personas = personas

    async def line(self, job: Job, occasion: Occasion) -> str | None:
        """What the persona says; None where the house's own sentence is to be said."""
        ending = "failed" if occasion == "failed" else "done"
        try:
            persona = self._personas.get(await self._chosen(job))
            if persona is None:
                return None
            asked, ended = await self._members.turn_of(job.user_id, job.id, ending)
        except StoreUnavailable:
            return None
        turn = asked if occasion == "waiting" else ended
        # An operator's line is text like any other: it pings nobody and formats nothing.
        return shown(persona.line(occasion, job.place.locale if job.place else None, turn=turn, salt=job.user_id), limit=200)

    async def wants_dm(self, job: Job) -> bool:
        """Whether its person chose to be told by direct message."""
        return (await self._choices.of(job.user_id)).dm

    async def _chosen(self, job: Job) -> str:
        """The studio's own voice, else the person's, else the house's."""
        of_studio = await self._of_studio(job) if self._of_studio else None
        return of_studio or (await self._choices.of(job.user_id)).persona or self._usual
