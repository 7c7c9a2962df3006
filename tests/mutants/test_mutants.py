"""The proofs are trusted as long as they find these defects: the table that ``make mutants`` prints, as a test."""

import json
import os
import subprocess
import sys

import pytest

from tests.mutants.table import MUTANTS
from tests.simulation import judge


@pytest.mark.slow
@pytest.mark.timeout(900)
def test_every_deliberate_defect_is_found_by_a_broken_promise():
    env = os.environ | {"PYTHONHASHSEED": "0", "OMP_NUM_THREADS": "1"}
    run = subprocess.run([sys.executable, "-m", "tests.mutants"], env=env, capture_output=True, text=True, check=False, timeout=850)

    assert json.loads(run.stdout.strip().splitlines()[-1]) == {"mutants": len(MUTANTS), "killed": len(MUTANTS)}, run.stdout + run.stderr


def test_there_are_enough_of_them_and_each_names_promises_that_the_judge_knows():
    known = {check.__name__ for check in judge.CHECKS} | {"I16"}

    assert len({mutant.name for mutant in MUTANTS}) == len(MUTANTS) >= 12
    assert all(set(mutant.found_by) <= known for mutant in MUTANTS)
    assert all(mutant.defect.__doc__ for mutant in MUTANTS)
