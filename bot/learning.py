"""What was learned of the GPUs' times is kept over a restart."""

import logging

from database.measures import Measures
from jobs.errors import StoreUnavailable
from jobs.estimate import Estimator
from jobs.ports import Clock

_log = logging.getLogger(__name__)

NAME = "estimator"
EVERY = 60.0


async def remember_for_ever(measures: Measures, estimator: Estimator, clock: Clock) -> None:
    """Load once, then store every minute in which something was learned."""
    stored = None
    while True:
        try:
            if stored is None:
                stored = await measures.recall(NAME) or {}
                if stored:
                    estimator.load(stored)
            elif (known := estimator.dump()) != stored:
                await measures.remember(NAME, known)
                stored = known
        except StoreUnavailable as error:
            _log.warning("what was learned is not stored now: %s", error)
        await clock.sleep(EVERY)
