"""docs/reliability.md names tests and troubles: each of them exists, and each mutant is in its list."""

import re
from pathlib import Path

from tests.simulation.test_faults import FAULTS
from tests.simulation.world import TROUBLES

ROOT = Path(__file__).parents[2]
PAGE = (ROOT / "docs" / "reliability.md").read_text(encoding="utf-8")


def test_every_test_that_the_page_names_exists():
    named = re.findall(r"`([\w/]+\.py)(?:::(\w+))?`", PAGE)
    assert len(named) > 15
    for file, test in named:
        path = next((p for p in (ROOT / "tests" / file, ROOT / file) if p.exists()), None)
        assert path is not None, file
        assert f"def {test}(" in path.read_text(encoding="utf-8") or not test, (file, test)


def test_every_trouble_that_the_page_names_is_played_by_itself():
    named = set(re.findall(r"sim:(\w+)", PAGE)) - {"NAME"}
    assert named <= set(FAULTS.values()) <= set(TROUBLES)
