"""The forms that verbs open. Their answers come back through the switchboard, whatever became of this process."""

from bot.cogs.parts import Address, Form, field
from bot.cogs.switchboard import Press
from jobs.errors import InvalidRequest
from jobs.job import Job
from jobs.request import PROMPT_MAX
from jobs.words import say


def remix_form(job: Job, locale: str | None) -> Form:
    """Change the words, keep the rest."""
    return Form(
        Address(area="job", subject=job.id, verb="remix", n=1),
        say("form.remix", locale),
        field("prompt", "form.prompt", locale, value=job.order.prompt, long=True, required=True, limit=PROMPT_MAX),
        field("negative", "form.negative", locale, value=job.order.negative, long=True, limit=PROMPT_MAX),
    )


def edit_form(job: Job, n: int, locale: str | None, *, follows: bool) -> Form:
    """What to change. ``follows``: whether a model here takes instructions; else the words paint the whole picture anew."""
    hint = "form.edit_follows" if follows else "form.edit_paints"
    value = "" if follows else job.order.prompt
    return Form(
        Address(area="job", subject=job.id, verb="edit", n=n),
        say("form.edit", locale),
        field("prompt", "form.change", locale, value=value, long=True, required=True, limit=PROMPT_MAX, hint=hint),
    )


def edit_file_form(sha256: str, locale: str | None, *, follows: bool) -> Form:
    """What to change in a picture that somebody brought."""
    return _file_form(sha256, "edit", "form.change", locale, hint="form.edit_follows" if follows else "form.edit_paints")


def vary_file_form(sha256: str, locale: str | None) -> Form:
    """What a variation of a picture that somebody brought should show: nobody knows its words."""
    return _file_form(sha256, "vary", "form.prompt", locale, title="form.vary")


def animate_file_form(sha256: str, locale: str | None) -> Form:
    """What moves in a picture that somebody brought."""
    return _file_form(sha256, "animate", "form.motion", locale)


def _file_form(sha256: str, verb: str, label: str, locale: str | None, *, hint: str | None = None, title: str | None = None) -> Form:
    return Form(
        Address(area="src", subject=sha256, verb=verb),
        say(title or f"form.{verb}", locale),
        field("prompt", label, locale, long=True, required=True, limit=PROMPT_MAX, hint=hint),
    )


def words_of(press: Press, name: str) -> str:
    """What was typed into a field that may not be empty. Raises InvalidRequest."""
    words = press.typed(name).strip()
    if not words:
        raise InvalidRequest("empty_prompt", field=name)
    return words


def animate_form(job: Job, n: int, locale: str | None) -> Form:
    """What moves."""
    return Form(
        Address(area="job", subject=job.id, verb="animate", n=n),
        say("form.animate", locale),
        field("prompt", "form.motion", locale, value=job.order.prompt, long=True, required=True, limit=PROMPT_MAX),
    )
