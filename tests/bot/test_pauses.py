"""The interpreter's own pauses."""

import gc
import sys
import weakref

import pytest

from bot.pauses import THRESHOLDS, TURN, set_aside, shorten_turns


class Guild:
    """Refers to itself by its members, as discord.py's do."""

    def __init__(self) -> None:
        self.members = [self]


@pytest.fixture
def interpreter():
    turn, thresholds = sys.getswitchinterval(), gc.get_threshold()
    yield
    sys.setswitchinterval(turn)
    gc.set_threshold(*thresholds)
    gc.unfreeze()


@pytest.mark.usefixtures("interpreter")
def test_what_lives_for_ever_is_not_looked_at_and_what_was_replaced_is_let_go():
    guild = Guild()
    gone = weakref.ref(guild)
    set_aside()
    assert gc.get_threshold() == THRESHOLDS
    assert not any(thing is guild for thing in gc.get_objects())

    del guild
    gc.collect()
    assert gone() is not None  # set aside is set aside
    set_aside()
    assert gone() is None


@pytest.mark.usefixtures("interpreter")
def test_the_lock_changes_hands_soon():
    shorten_turns()
    assert sys.getswitchinterval() == pytest.approx(TURN)
