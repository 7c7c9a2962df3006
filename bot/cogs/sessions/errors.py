"""What can keep a studio from being made; each code is a sentence of the catalogue."""

from jobs.errors import DarkroomError


class StudioImpossible(DarkroomError):
    """No private channel can be had now, and nothing was enqueued."""
