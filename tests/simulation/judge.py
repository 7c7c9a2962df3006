"""The judge: reads the ledger, its history, the workers' logs and the channels, and says which promise was broken.

The numbers are those of docs/reliability.md (I1 to I19).
"""

import hashlib
import io
import json
import sqlite3
from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator
from typing import Any

from PIL import Image

from bot.cogs.photos.memory import marker_of
from jobs.job import ACTIVE_MAX, JobState, may_move
from jobs.ports import DeliveryKind
from tests.simulation.fair import (
    i11_absence_earns_nothing,
    i11_each_claim_plans_on_what_the_ledger_says,
    i11_each_lease_stands_within_its_window,
)
from tests.simulation.forgetting import (
    i17_no_byte_of_a_deleted_prompt_is_left,
    i17_no_picture_file_of_a_deleted_person_is_left,
    i17_no_prompt_is_logged,
    i17_no_table_tells_of_a_deleted_person,
    i17_nothing_is_posted_after_a_deletion,
    i17_what_was_being_made_is_stopped,
    may_be_gone,
    taken,
)
from tests.simulation.gpu import colour_of
from tests.simulation.host import POLICY
from tests.simulation.idling import (
    i12_no_worker_idles_beside_what_it_could_do,
    i14_a_host_leases_what_it_sees_places_for,
    i14_what_is_leased_beyond_the_places_goes_back,
)
from tests.simulation.world import World

ENDED = ("done", "failed", "cancelled", "expired", "quarantined")
ACTIVE = ("leased", "running")
Row = dict[str, Any]


class Records:
    """The tables, read once after the end."""

    def __init__(self, world: World) -> None:
        raw = sqlite3.connect(world.database.file)
        raw.row_factory = sqlite3.Row
        self.jobs = self._all(raw, "job")
        self.events = self._all(raw, "job_event")
        self.outbox = self._all(raw, "outbox")
        self.results = self._all(raw, "result")
        raw.close()
        self.of_job: dict[str, list[Row]] = defaultdict(list)
        for event in self.events:
            self.of_job[event["job_id"]].append(event)
        self.by_id = {job["id"]: job for job in self.jobs}
        self.owner_of = {wish.acked.id: f"discord:{wish.person}" for wish in world.wishes if wish.acked is not None}
        self.owner_of |= {job["id"]: job["user_id"] for job in self.jobs}
        known = {wish.prompt: wish.acked.id for wish in world.wishes if wish.acked is not None and taken(world, wish)}
        self.late = {prompt for job in self.jobs if (prompt := json_prompt(job)) in known and job["id"] != known[prompt]}
        """Deleted, and asked once more by a request that a host standing still had kept: such a job is a new one."""

    @staticmethod
    def _all(raw: sqlite3.Connection, table: str) -> list[Row]:
        return [dict(row) for row in raw.execute(f"SELECT * FROM {table} ORDER BY seq")]


def judge(world: World) -> list[str]:
    """Every broken promise, as a line."""
    records = Records(world)
    found: list[str] = list(world.complaints)
    for check in CHECKS:
        found += [f"{check.__name__}: {what}" for what in check(world, records)]
    return found


def no_host_died_of_itself(world: World, _: Records) -> Iterator[str]:
    for number, error in world.crashes:
        yield f"host {number}: {error!r}"
    for context in world.loop.broken:
        yield f"a callback raised: {context.get('message')} {context.get('exception')!r}"


def i1_every_acknowledged_wish_ended_once(world: World, records: Records) -> Iterator[str]:
    for wish in world.wishes:
        if wish.acked is None:
            if wish.refused is None:
                yield f"{wish.prompt!r} was never answered"
            continue
        job = records.by_id.get(wish.acked.id)
        if job is None:
            if not may_be_gone(world, wish):
                yield f"job {wish.acked.id} was acknowledged and is gone"
        elif job["state"] not in ENDED:
            yield f"job {job['id']} is {job['state']} for ever"


def i1_without_faults_everybody_gets_their_picture(world: World, records: Records) -> Iterator[str]:
    if not world.is_calm:
        return
    for wish in world.wishes:
        job = records.by_id.get(wish.acked.id) if wish.acked else None
        # Two hosts may choose for one worker's last place at once; it refuses the second, which is nobody's fault.
        leases = 1 if world.plan.seats == 1 else 3
        if job is not None and wish.cancel_told is None and (job["state"] != "done" or job["epoch"] > leases or job["attempt"]):
            yield f"nothing went wrong, and job {job['id']} is {job['state']} after {job['epoch']} leases"


def i1_a_retry_is_never_refused(world: World, _: Records) -> Iterator[str]:
    for wish in world.wishes:
        if wish.refused == "idempotency_conflict":
            yield f"{wish.prompt!r}: its own retry was called somebody else's"


def i2_never_more_than_two_active(_: World, records: Records) -> Iterator[str]:
    active: dict[str, set[str]] = defaultdict(set)
    for event in records.events:
        owner = records.owner_of.get(event["job_id"], f"nobody known: {event['job_id']}")
        mine = active[owner]
        (mine.add if event["to_state"] in ACTIVE else mine.discard)(event["job_id"])
        if len(mine) > ACTIVE_MAX:
            yield f"{owner} has {len(mine)} active jobs at event {event['seq']}"


def i3_one_message_for_each_delivery(world: World, records: Records) -> Iterator[str]:
    seen: Counter[tuple[int, int]] = Counter()
    for message in world.chat.messages:
        for marker in message.markers:
            seen[message.channel, marker] += 1
    for row in records.outbox:
        if row["kind"] == "close":
            continue
        marker = marker_of(row["job_id"], row["generation"], DeliveryKind(row["kind"]), row["part"])
        count = seen[int(row["channel_id"]), marker]
        if count > 1:
            yield f"job {row['job_id']}: its {row['kind']} was posted {count} times"
        if count == 0 and row["state"] == "sent":
            yield f"job {row['job_id']}: its {row['kind']} is called sent and nobody sees it"
        if row["state"] == "dead":
            yield f"job {row['job_id']}: its {row['kind']} was given up ({row['reason']})"


def i3_whatever_ended_was_told(world: World, records: Records) -> Iterator[str]:
    """A picture for what is done, a failure line for what failed, and a card that says so."""
    markers = {(message.channel, marker): message for message in world.chat.messages for marker in message.markers}
    due = {
        "done": DeliveryKind.PICTURE,
        "failed": DeliveryKind.FAILURE,
        "expired": DeliveryKind.FAILURE,
        "quarantined": DeliveryKind.FAILURE,
    }
    for job in records.jobs:
        if job["channel_id"] is None or job["state"] not in ENDED:
            continue
        kinds = [DeliveryKind.CARD, *([due[job["state"]]] if job["state"] in due else [])]
        for kind in kinds:
            if (int(job["channel_id"]), marker_of(job["id"], job["generation"], kind)) not in markers:
                yield f"job {job['id']} is {job['state']}, but its {kind} was never posted"
        card = markers.get((int(job["channel_id"]), marker_of(job["id"], job["generation"], DeliveryKind.CARD)))
        closes = [row for row in records.outbox if row["job_id"] == job["id"] and row["kind"] == "close"]
        if [row["state"] for row in closes if row["generation"] == job["generation"]] != ["sent"]:
            yield f"job {job['id']} ended and its card was not closed"
        elif card is not None and not card.edits and card.at < world.closed_after(job):
            yield f"job {job['id']} ended and its card still waits"


def i3_pictures_go_to_their_owners(world: World, records: Records) -> Iterator[str]:
    owners = {
        (int(job["channel_id"]), marker_of(job["id"], job["generation"], DeliveryKind.PICTURE)): job
        for job in records.jobs
        if job["channel_id"] is not None
    }
    wishes = {wish.acked.id: wish for wish in world.wishes if wish.acked is not None}
    for wish in wishes.values():  # of what was deleted since no row is left
        if wish.acked.id not in records.by_id:
            owners[100 + wish.person, marker_of(wish.acked.id, 0, DeliveryKind.PICTURE)] = {"id": wish.acked.id}
    for message in world.chat.messages:
        if not message.files:
            continue
        job = next((owners[message.channel, m] for m in message.markers if (message.channel, m) in owners), None)
        if job is None:
            yield f"a picture in channel {message.channel} that belongs to nobody there"
            continue
        wish = wishes.get(job["id"])
        prompt = wish.prompt if wish else None
        for data in message.files:
            try:
                colour = Image.open(io.BytesIO(data)).convert("RGB").getpixel((3, 3))
            except OSError:
                yield f"job {job['id']} was given a broken picture"
                continue
            if prompt is not None and colour != colour_of(prompt):
                yield f"job {job['id']} was given somebody else's picture"


def i4_no_write_under_an_old_epoch(world: World, _: Records) -> Iterator[str]:
    for write in world.writes:
        if write.job.epoch != write.epoch:
            yield f"{write.name} of {write.job.id} came with epoch {write.epoch} and was taken at {write.job.epoch}"


def i5_one_job_for_each_key(world: World, records: Records) -> Iterator[str]:
    prompts = Counter(json_prompt(job) for job in records.jobs)
    for prompt, count in prompts.items():
        if count > 1:
            yield f"{prompt!r} became {count} jobs"
    for wish in world.wishes:
        if wish.acked is not None and wish.prompt not in prompts and not may_be_gone(world, wish):
            yield f"{wish.prompt!r} has no job"


def json_prompt(job: Row) -> str:
    return json.loads(job["order"])["prompt"]


def i6_history_is_legal(_: World, records: Records) -> Iterator[str]:
    for job_id, events in records.of_job.items():
        state, generation = None, 0
        for event in events:
            before, after = event["from_state"], event["to_state"]
            if before != state:
                yield f"job {job_id}: event {event['seq']} comes from {before}, it was {state}"
            if before is not None and before != after:
                if before in ENDED and event["generation"] <= generation:
                    yield f"job {job_id}: {before} was not final"
                if not may_move(JobState(before), JobState(after)):
                    yield f"job {job_id}: {before} to {after} is not legal"
            state, generation = after, event["generation"]
        if job_id not in records.by_id:
            if state not in (*ENDED, "purged"):
                yield f"job {job_id} is gone, and its history ends {state}"
        elif state != records.by_id[job_id]["state"]:
            yield f"job {job_id}: its history ends {state}, its row says {records.by_id[job_id]['state']}"


def i7_done_means_results_and_bytes(world: World, records: Records) -> Iterator[str]:
    results = defaultdict(list)
    for row in records.results:
        results[row["job_id"], row["generation"]].append(row)
    for job in records.jobs:
        mine = results.get((job["id"], job["generation"]), [])
        if (job["state"] == "done") != bool(mine):
            yield f"job {job['id']} is {job['state']} with {len(mine)} results"
        for row in mine:
            file = world.folder / "pictures" / row["sha256"][:2] / row["sha256"]
            if not file.exists() or hashlib.sha256(file.read_bytes()).hexdigest() != row["sha256"]:
                yield f"job {job['id']}: the bytes of its picture are not there"
        if job["state"] == "done" and job["channel_id"] and not _owed(records, job, "picture"):
            yield f"job {job['id']} is done and nothing is to deliver"


def _owed(records: Records, job: Row, kind: str) -> bool:
    return any(r["job_id"] == job["id"] and r["generation"] == job["generation"] and r["kind"] == kind for r in records.outbox)


def i8_slots_and_leases_are_given_back(_: World, records: Records) -> Iterator[str]:
    for job in records.jobs:
        if (job["slot"] is not None) != (job["state"] in ACTIVE):
            yield f"job {job['id']} is {job['state']} with slot {job['slot']}"


def i9_tries_have_an_end(_: World, records: Records) -> Iterator[str]:
    for job in records.jobs:
        if job["attempt"] > POLICY.attempts_max:
            yield f"job {job['id']} was tried {job['attempt']} times"
        if job["lost"] > POLICY.lost_max:
            yield f"job {job['id']} was lost {job['lost']} times"


def i9_runs_have_an_end(world: World, _: Records) -> Iterator[str]:
    """Counted at the workers: what was really started, whatever the ledger says of it."""
    started = Counter(told.key.job_id for worker in world.workers for told in worker.log)
    most = POLICY.attempts_max + POLICY.lost_max + RUNS_FOR_NOBODYS_FAULT
    for job_id, count in started.items():
        if count > most:
            yield f"job {job_id} was started {count} times"


RUNS_FOR_NOBODYS_FAULT = 6
"""Starts that burn nothing: restarts of the worker, batches too large, answers lost before the acceptance was known."""


def i10_epochs_only_grow(_: World, records: Records) -> Iterator[str]:
    for job_id, events in records.of_job.items():
        last = -1
        for event in events:
            leased = event["to_state"] == "leased" and event["from_state"] != "leased"
            if event["epoch"] < last or (leased and event["epoch"] <= last):
                yield f"job {job_id}: epoch {event['epoch']} after {last} at event {event['seq']}"
            last = event["epoch"]


def i13_a_worker_runs_what_fits(world: World, _: Records) -> Iterator[str]:
    for worker in world.workers:
        for told in worker.log:
            if told.order.model not in worker.models:
                yield f"{worker.name} was given {told.order.model}"


def i14_a_worker_is_leased_what_it_has_places_for(world: World, records: Records) -> Iterator[str]:
    """By the log, of one host since its start: two may choose for the last place at the same moment, and the worker refuses the second.

    What an earlier host leased without telling the worker fills no place; it counts once it is taken up again.
    """
    if world.plan.seats > 1:
        return
    places = {worker.name: worker.max_batch for worker in world.workers}
    held: dict[str, dict[str, float]] = defaultdict(dict)
    for event in records.events:
        at, worker = world.seconds(event["at"]), event["actor"]
        for jobs in held.values():
            jobs.pop(event["job_id"], None)
        if event["to_state"] in ACTIVE and worker in places:
            held[worker][event["job_id"]] = at
            since = max((start for start in world.starts if start <= at), default=0.0)
            count = sum(leased >= since for leased in held[worker].values())
            if count > places[worker]:
                yield f"{worker} has {count} leases in {places[worker]} places at event {event['seq']}"


def i15_cancelled_jobs_post_no_picture(world: World, records: Records) -> Iterator[str]:
    posted = {(message.channel, marker) for message in world.chat.messages for marker in message.markers}
    for job in records.jobs:
        if job["state"] != "cancelled" or job["channel_id"] is None:
            continue
        if (int(job["channel_id"]), marker_of(job["id"], job["generation"], DeliveryKind.PICTURE)) in posted:
            yield f"job {job['id']} was cancelled and its picture posted"


def i13_a_slot_is_freed_when_the_worker_stopped(world: World, records: Records) -> Iterator[str]:
    """An active job becomes cancelled only after its worker stopped it, or forgot it, or its lease ran out."""
    runs = {str(told.key): told for worker in world.workers for told in worker.log}
    for job_id, events in records.of_job.items():
        if job_id not in records.by_id:  # deleted: its history says no more how it was given back
            continue
        for event in events:
            if event["to_state"] != "cancelled" or event["from_state"] not in ACTIVE or event["actor"] == "janitor":
                continue
            if event["detail"] is not None:  # the line broke and the job was given back (T7): its worker was told to stop, unheard
                continue
            told = runs.get(f"{job_id}.{event['epoch']}")
            if told is not None and (told.ended is None or told.ended > world.seconds(event["at"]) + 0.002):
                yield f"job {job_id}: its slot was free while its worker still worked for it"


def i18_few_requests_are_invalid(world: World, _: Records) -> Iterator[str]:
    if world.chat.invalid > 200:
        yield f"{world.chat.invalid} invalid requests to Discord"


def i19_nothing_is_left_behind(world: World, _: Records) -> Iterator[str]:
    for host in world.alive():
        left = host.dispatcher._under_way
        if left:
            yield f"host {host.number} still follows {sorted(map(str, left))}"
        if host.poster._lanes:
            yield f"host {host.number} still has lanes {sorted(host.poster._lanes)}"
        tasks = world.loop.pending_tasks(host.number)
        if len(tasks) > TASKS_AT_REST + len(world.workers):
            yield f"host {host.number} has {len(tasks)} tasks: {sorted(task.get_name() for task in tasks)}"


TASKS_AT_REST = 12


def no_picture_before_its_result(world: World, records: Records) -> Iterator[str]:
    done = {event["job_id"]: world.seconds(event["at"]) for event in records.events if event["to_state"] == "done"}
    pictures = {marker_of(job["id"], job["generation"], DeliveryKind.PICTURE): job["id"] for job in records.jobs}
    for message in world.chat.messages:
        for marker in message.markers:
            job_id = pictures.get(marker)
            if job_id is not None and message.at < done.get(job_id, float("inf")) - 0.002:
                yield f"job {job_id}: its picture was posted before the ledger had it"


Check = Any
CHECKS: Iterable[Check] = (
    no_host_died_of_itself, i1_every_acknowledged_wish_ended_once, i1_without_faults_everybody_gets_their_picture, i1_a_retry_is_never_refused, i2_never_more_than_two_active,
    i3_one_message_for_each_delivery, i3_whatever_ended_was_told, i3_pictures_go_to_their_owners, i4_no_write_under_an_old_epoch,
    i5_one_job_for_each_key, i6_history_is_legal, i7_done_means_results_and_bytes, i8_slots_and_leases_are_given_back,
    i9_tries_have_an_end, i9_runs_have_an_end, i10_epochs_only_grow, i13_a_worker_runs_what_fits,
    i11_each_claim_plans_on_what_the_ledger_says, i11_each_lease_stands_within_its_window, i11_absence_earns_nothing,
    i12_no_worker_idles_beside_what_it_could_do,
    i13_a_slot_is_freed_when_the_worker_stopped, i14_a_host_leases_what_it_sees_places_for,
    i14_what_is_leased_beyond_the_places_goes_back, i14_a_worker_is_leased_what_it_has_places_for,
    i15_cancelled_jobs_post_no_picture, i18_few_requests_are_invalid,
    i17_no_table_tells_of_a_deleted_person, i17_no_byte_of_a_deleted_prompt_is_left, i17_no_picture_file_of_a_deleted_person_is_left,
    i17_nothing_is_posted_after_a_deletion, i17_what_was_being_made_is_stopped, i17_no_prompt_is_logged,
    i19_nothing_is_left_behind, no_picture_before_its_result,
)  # fmt: skip
