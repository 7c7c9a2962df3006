"""Each fault of docs/reliability.md that the simulation can make, by itself and often: no promise is broken."""

import pytest

from tests.simulation.test_simulation import simulate

FAULTS = {
    "F1 a host dies between a commit and its answer": "host_dies_at_a_commit",
    "F1 a host dies between the end of a job and what follows": "host_dies_after_a_finish",
    "F2 hosts are killed again and again": "host_is_killed",
    "F3 a host drains with runs under way": "host_drains",
    "F6 a host stands still and comes back as a zombie": "host_stops_for_a_while",
    "F8 the database is away": "database_is_away",
    "F9 a commit takes effect and its answer is lost": "commits_lose_their_answers",
    "F14 the database is busy": "database_is_busy",
    "F15 the database is full": "database_is_full",
    "F19 a worker dies in the middle of its runs": "worker_dies",
    "F20 F21 F22 a worker hangs, lies, sends rubbish or everything twice": "worker_misbehaves",
    "F22 a worker mixes runs up after a restart": "worker_mixes_runs_up",
    "F23 a worker has memory for one": "worker_is_small",
    "F24 a wish kills whatever runs it": "a_wish_is_poison",
    "F26 a worker's line breaks again and again": "worker_is_cut_off",
    "a wish fails each time by the worker's fault": "a_wish_always_fails",
    "F30 answers of Discord are lost": "discord_loses_answers",
    "F31 Discord is down": "discord_is_down",
}


@pytest.mark.slow
@pytest.mark.timeout(300)
@pytest.mark.parametrize("trouble", FAULTS.values(), ids=FAULTS.keys())
def test_a_fault_by_itself_breaks_no_promise(trouble: str):
    told, everything = simulate("--seeds", "4", "--first", "900", "--trouble", trouble)

    assert (told["seeds"], told["failed"]) == (4, 0), everything
