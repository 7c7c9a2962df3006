"""A person's own picture on its way in: checked, drawn anew, kept by its digest, and remembered as theirs."""

from jobs.job import InputPicture, UserId
from jobs.ports import Inputs, Inspector, PictureStore


class Intake:
    """Takes pictures to start from, over ports only."""

    def __init__(self, *, inspector: Inspector, pictures: PictureStore, inputs: Inputs) -> None:
        self._inspector = inspector
        self._pictures = pictures
        self._inputs = inputs

    async def take(self, data: bytes, *, user_id: UserId) -> InputPicture:
        """Keep it, durably. The same picture twice is one. Raises InvalidRequest("invalid_picture"), StoreUnavailable."""
        clean, picture = await self._inspector.take_in(data)
        await self._pictures.put(clean)  # bytes first: a row never names a picture that is not there
        await self._inputs.keep(user_id, picture)
        return picture
