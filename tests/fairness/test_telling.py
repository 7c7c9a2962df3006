"""What people are told in a simulated house comes true as often as it says."""

import pytest

from tests.fairness.telling import telling_world


@pytest.mark.parametrize("house", [{"workers": 3}, {"workers": 2, "step_level": True}], ids=str)
def test_four_in_five_ranges_hold(house):
    world, telling = telling_world(0, **house)
    world.run(2_500)
    assert telling.inside + telling.below + telling.above > 500
    assert 0.75 <= telling.share_inside <= 0.85
    assert len(telling.causes) >= 3
