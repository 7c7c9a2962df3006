"""Which defect shows in which kind of scenario, and which promise it must be found to break."""

import random
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from jobs.fairness import Rules
from tests.mutants import defects
from tests.simulation.fair import TIGHT
from tests.simulation.forgetting import Erasing
from tests.simulation.world import Plan

Troubles = tuple[tuple[float, str], ...]


@dataclass(frozen=True, kw_only=True)
class Mutant:
    """A defect, the scenario that suits it, and the judge's checks that may find it (any of them)."""

    defect: Callable[[], None]
    found_by: tuple[str, ...]
    troubles: tuple[str, ...] = ()
    """Drawn from, often."""
    seats: int = 2
    kills: int = 0
    step: float = 1.0
    cancels: bool = False
    same_seed: float = 0.3
    apart: bool = False
    """Each worker has a model of its own, so that hosts which choose at the same moment choose different jobs."""
    latency: float = 0.002
    deletes: bool = False
    """Everybody has everything deleted once."""
    crowd: bool = False
    """Four people who always want more than one worker can do."""
    tight: bool = False
    """Narrow windows of fairness, in which somebody stands at an edge soon."""
    spoil: str = ""
    """A constraint that has to go as well, since the database refuses what the defect does."""

    @property
    def name(self) -> str:
        return self.defect.__name__

    def draw(self, rng: random.Random) -> Plan:
        """A scenario with the troubles that this defect needs."""
        models = ("alpha", "beta")[: 2 if self.apart else rng.choice((1, 2))]
        how: dict[str, Any] = {"models": models, "max_batch": rng.choice((2, 4)), "step": self.step}
        workers = [how | {"models": (model,)} for model in models] if self.apart else [dict(how), dict(how)]
        plan = Plan(seats=self.seats, people=3, wishes=9, models=models, workers=workers, loses=0.0, spoil=self.spoil)
        if self.crowd:
            plan.people, plan.wishes, plan.workers = 4, 24, [how | {"max_batch": 4}]
        plan.latency, plan.same_seed = self.latency, self.same_seed
        plan.rules = TIGHT if self.tight else Rules()
        plan.erasings = [Erasing(person=n, after=rng.randint(1, 3), delay=rng.uniform(0, 12)) for n in range(3)] if self.deletes else []
        plan.cancels = 0.9 if self.cancels else 0.1
        if self.troubles:
            plan.troubles = [(rng.uniform(0, 60), rng.choice(self.troubles), {}) for _ in range(8)]
        plan.kills = [(rng.randrange(self.seats), int(10 ** rng.uniform(2, 3.3))) for _ in range(self.kills)]
        return plan


DOUBTS = ("discord_loses_answers", "discord_hangs", "discord_errs", "host_dies_at_a_commit")
DEATHS = ("host_dies_at_a_commit", "host_is_killed", "commits_lose_their_answers")
AFTER = ("host_dies_after_a_finish",)
NO_SLOTS = "DROP INDEX uq_job_user_id_slot;"

I11 = ("i11_each_claim_plans_on_what_the_ledger_says", "i11_each_lease_stands_within_its_window")
I3 = ("i3_one_message_for_each_delivery", "i3_whatever_ended_was_told")

MUTANTS: tuple[Mutant, ...] = (
    Mutant(defect=defects.no_fence, found_by=("i4_no_write_under_an_old_epoch", "i6_history_is_legal"), troubles=("host_stops_for_a_while",), step=2.0),
    Mutant(defect=defects.no_idempotency_key, found_by=("i5_one_job_for_each_key",), troubles=DEATHS, latency=0.2),
    Mutant(
        defect=defects.acknowledged_before_the_commit,
        found_by=("i1_every_acknowledged_wish_ended_once",),
        troubles=("database_is_away", "database_is_full"),
    ),
    Mutant(
        defect=defects.claim_in_two_transactions, found_by=("i2_never_more_than_two_active",), spoil=NO_SLOTS, step=3.0, latency=0.4,
        apart=True,
    ),
    Mutant(defect=defects.slot_freed_when_cancel_is_asked, found_by=("i13_a_slot_is_freed_when_the_worker_stopped",), cancels=True, step=2.0),
    Mutant(defect=defects.cancel_undoes_what_is_done, found_by=("i6_history_is_legal",), cancels=True, step=0.1),
    Mutant(defect=defects.retry_without_budget, found_by=("I16", "i9_runs_have_an_end"), troubles=("a_wish_always_fails",), step=0.1),
    Mutant(defect=defects.results_in_another_transaction, found_by=("i7_done_means_results_and_bytes",), troubles=AFTER, step=0.3),
    Mutant(defect=defects.no_outbox, found_by=("i7_done_means_results_and_bytes", *I3), troubles=AFTER, step=0.3),
    Mutant(
        defect=defects.leases_are_never_renewed, found_by=("i1_without_faults_everybody_gets_their_picture",), step=5.0, seats=1
    ),
    Mutant(
        defect=defects.adoption_without_hash_check, found_by=("i3_pictures_go_to_their_owners",),
        troubles=("worker_mixes_runs_up", "host_is_killed", "host_dies_at_a_commit"), step=2.0, seats=1, same_seed=1.0,
    ),
    Mutant(defect=defects.pictures_are_not_looked_at, found_by=("i3_pictures_go_to_their_owners",), troubles=("worker_misbehaves",)),
    Mutant(defect=defects.no_nonce, found_by=I3[:1], troubles=DOUBTS, step=0.3),
    Mutant(defect=defects.one_nonce_for_a_job, found_by=I3, step=0.3),
    Mutant(
        defect=defects.no_read_back, found_by=I3[:1], troubles=("discord_loses_answers", "nobody_is_there_for_long", "host_dies_at_a_commit"),
        step=0.3,
    ),
    Mutant(
        defect=defects.the_first_try_is_not_stamped, found_by=I3[:1],
        troubles=("discord_loses_answers", "nobody_is_there_for_long", "host_dies_at_a_commit"), step=0.3,
    ),
    Mutant(defect=defects.long_http_timeout, found_by=I3[:1], troubles=("discord_hangs_for_long",), step=0.3),
    Mutant(defect=defects.sent_before_the_post, found_by=I3, troubles=("discord_errs", "discord_is_down", "host_is_killed"), step=0.3),
    Mutant(defect=defects.somebody_elses_picture, found_by=("i3_pictures_go_to_their_owners",), step=0.3),
    Mutant(
        defect=defects.places_taken_are_not_counted, found_by=("i14_a_host_leases_what_it_sees_places_for",), step=2.0,
    ),
    Mutant(defect=defects.a_refused_lease_is_kept, found_by=("i14_what_is_leased_beyond_the_places_goes_back",), step=3.0),
    Mutant(defect=defects.charges_of_other_hosts_unread, found_by=I11[:1], step=0.3),
    Mutant(defect=defects.riders_without_window, found_by=I11[1:], tight=True, crowd=True, seats=1, step=2.0),
    Mutant(
        defect=defects.who_comes_back_to_a_new_line_does_not_begin, found_by=("i11_absence_earns_nothing",),
        troubles=("host_is_killed", "database_is_busy"), crowd=True, step=1.0,
    ),
    Mutant(defect=defects.log_numbers_begin_anew, found_by=(*I11[:1], "I16", "i12_no_worker_idles_beside_what_it_could_do"), deletes=True, step=3.0),
    Mutant(defect=defects.nobody_is_woken, found_by=("i12_no_worker_idles_beside_what_it_could_do",), seats=1),
    Mutant(
        defect=defects.nobody_polls, found_by=("i12_no_worker_idles_beside_what_it_could_do",), seats=1,
        troubles=("worker_dies", "worker_is_cut_off"), step=2.0,
    ),
    Mutant(defect=defects.deleted_jobs_go_on, found_by=("i17_no_table_tells_of_a_deleted_person",), deletes=True, step=3.0),
    Mutant(defect=defects.deleted_runs_go_on, found_by=("i17_what_was_being_made_is_stopped",), deletes=True, step=5.0, seats=1),
    Mutant(
        defect=defects.what_is_owed_is_posted_first, found_by=("i17_nothing_is_posted_after_a_deletion",), deletes=True, step=0.3,
        troubles=("discord_is_down",),
    ),
    Mutant(defect=defects.deleted_words_stay_in_the_wal, found_by=("i17_no_byte_of_a_deleted_prompt_is_left",), deletes=True, step=0.3),
    Mutant(defect=defects.deleted_words_stay_in_free_pages, found_by=("i17_no_byte_of_a_deleted_prompt_is_left",), deletes=True, step=0.3),
    Mutant(
        defect=defects.files_of_the_deleted_stay, found_by=("i17_no_picture_file_of_a_deleted_person_is_left",), deletes=True, step=0.3
    ),
    Mutant(defect=defects.prompts_are_logged, found_by=("i17_no_prompt_is_logged",), troubles=("worker_dies",)),
    Mutant(defect=defects.cancelled_pictures_are_posted, found_by=("i15_cancelled_jobs_post_no_picture",), cancels=True),
)  # fmt: skip
