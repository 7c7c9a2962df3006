"""The step loop: who shares a pass, who joins, who leaves, and who pays when something breaks."""

import io
import time
from collections.abc import Callable, Iterator
from typing import Any

import pytest

pytest.importorskip("numpy", reason="a host without the worker's packages has no engine to test")

import numpy as np
from PIL import Image

from tests.workers.engine_fixtures import Listener
from tests.workers.fake_backend import FakeBackend, FakeFamily, pixels_of, sources
from workers.engine.loop import PATIENCE_SECONDS, Engine, EngineSettings
from workers.engine.run import Developing, Preview, Progress, Run, RunSpec, Stopped


class Clock:
    """Time that stands still until it is told."""

    now = 0.0

    def __call__(self) -> float:
        return self.now


class Studio:
    """An engine over a fake backend, with short words for what tests do."""

    def __init__(self, backend: FakeBackend, *names: str, **settings: Any) -> None:
        self.backend = backend
        self.clock = Clock()
        self.death: list[BaseException] = []
        self.engine = Engine(
            lambda: backend,
            lambda: sources(*(names or ("m",))),
            EngineSettings(**settings),
            clock=self.clock,
            on_death=self.death.append,
        )
        self.engine.start()

    def ask(self, prompt: str, *, give_up: float | None = None, **changes: Any) -> tuple[Run, Listener, RunSpec]:
        given: dict[str, Any] = {
            "model": "m", "prompt": prompt, "width": 16, "height": 16, "steps": 4, "guidance": 3.0, "seed": 7
        } | changes  # fmt: skip
        spec, listener = RunSpec(**given), Listener()
        return self.engine.submit(prompt, spec, listener, give_up_seconds=give_up), listener, spec

    def permit_until(self, happened: Callable[[], bool]) -> None:
        """Let passes go, one by one, until something happened beside them."""
        for _ in range(300):
            if happened():
                return
            self.backend.permit(1)
            time.sleep(0.01)
        raise AssertionError("it never happened")

    @property
    def model(self) -> FakeFamily:
        return self.backend.families["m"]


@pytest.fixture
def studio() -> Iterator[Callable[..., Studio]]:
    made: list[Studio] = []

    def make(backend: FakeBackend | None = None, *names: str, **settings: Any) -> Studio:
        made.append(Studio(backend or FakeBackend(), *names, **settings))
        return made[-1]

    yield make
    for one in made:
        one.backend.let_go()
        one.backend.permit(1000)
        one.engine.stop()


def assert_own(listener: Listener, spec: RunSpec) -> None:
    """The picture is the one that this spec asked for."""
    with Image.open(io.BytesIO(listener.made().png)) as image:
        assert np.array_equal(np.asarray(image), pixels_of(spec))


def test_runs_of_several_people_share_passes_and_each_gets_their_own(studio: Callable[..., Studio]) -> None:
    lab = studio(FakeBackend(held=True))
    asked = [lab.ask(f"p{number}", seed=number, steps=3 + number) for number in range(4)]
    asked[0][1].wait_for_step(0)
    lab.backend.let_go()
    for _, listener, spec in asked:
        assert_own(listener, spec)
    assert max(len(rows) for rows in lab.model.passes) >= 3
    assert asked[3][1].made().shared_with >= 2


def test_a_late_run_joins_at_the_next_step(studio: Callable[..., Studio]) -> None:
    lab = studio(FakeBackend(held=True))
    _, first, first_spec = lab.ask("first", steps=400)
    lab.backend.permit(2)
    first.wait_for_step(2)
    _, late, late_spec = lab.ask("late", steps=2)
    lab.permit_until(lambda: late.steps == 0)
    lab.backend.let_go()
    assert_own(first, first_spec)
    assert_own(late, late_spec)
    assert lab.model.passes[:2] == [["first"], ["first"]]
    assert lab.model.passes.count(["first", "late"]) == 2
    assert first.made().passes == 400
    assert first.made().shared_with == 1


def test_a_run_that_is_done_leaves_and_the_others_go_on(studio: Callable[..., Studio]) -> None:
    lab = studio(FakeBackend(held=True))
    _, short, _ = lab.ask("short", steps=1)
    _, long, _ = lab.ask("long", steps=5)
    lab.backend.permit(2)
    short.made()
    assert long.ends == 0
    lab.backend.let_go()
    long.made()
    assert lab.model.passes[-1] == ["long"]


def test_cancelling_one_stops_one(studio: Callable[..., Studio]) -> None:
    lab = studio(FakeBackend(held=True))
    mine, my_listener, _ = lab.ask("mine", steps=9)
    _, neighbour, spec = lab.ask("neighbour", steps=9, seed=3)
    lab.backend.permit(3)
    my_listener.wait_for_step(1)
    neighbour.wait_for_step(1)
    lab.engine.cancel(mine)
    lab.backend.let_go()
    assert isinstance(my_listener.end(), Stopped)
    assert_own(neighbour, spec)
    assert my_listener.steps < 9
    assert my_listener.ends == neighbour.ends == 1


def test_a_run_cancelled_while_it_waits_never_computes(studio: Callable[..., Studio]) -> None:
    lab = studio(FakeBackend(held=True), max_batch=1)
    _, first, _ = lab.ask("first", steps=2)
    first.wait_for_step(0)
    waiting, listener, _ = lab.ask("waiting")
    lab.engine.cancel(waiting)
    lab.backend.let_go()
    assert isinstance(listener.end(), Stopped)
    first.made()
    assert all("waiting" not in rows for rows in lab.model.passes)


def test_no_more_runs_share_a_pass_than_allowed(studio: Callable[..., Studio]) -> None:
    lab = studio(max_batch=2)
    asked = [lab.ask(f"p{number}") for number in range(5)]
    for _, listener, spec in asked:
        assert_own(listener, spec)
    assert max(len(rows) for rows in lab.model.passes) <= 2


def test_other_sizes_take_turns_and_share_no_pass(studio: Callable[..., Studio]) -> None:
    lab = studio(FakeBackend(held=True))
    _, small, small_spec = lab.ask("small", steps=3)
    _, wide, wide_spec = lab.ask("wide", steps=3, width=32)
    small.wait_for_step(0)
    lab.backend.permit(1)
    wide.wait_for_step(0)
    lab.backend.let_go()
    assert_own(small, small_spec)
    assert_own(wide, wide_spec)
    assert all(len(rows) == 1 for rows in lab.model.passes)
    assert lab.model.passes[1:3] in ([["wide"], ["small"]], [["small"], ["wide"]])


def test_out_of_memory_halves_the_pass_remembers_and_costs_nobody_the_job(studio: Callable[..., Studio]) -> None:
    lab = studio(FakeBackend(fits=2, held=True))
    asked = [lab.ask(f"p{number}", seed=number, steps=5) for number in range(5)]
    asked[0][1].wait_for_step(0)
    lab.backend.let_go()
    for _, listener, spec in asked:
        assert_own(listener, spec)
    assert max(len(rows) for rows in lab.model.passes) == 2
    assert 1 <= lab.backend.released <= 3, "it did not remember what fits"


def test_a_run_too_large_even_row_by_row_is_told_so(studio: Callable[..., Studio]) -> None:
    _, listener, _ = studio(FakeBackend(fits=0)).ask("huge")
    assert listener.broken().failure.blame == "out_of_memory"


def test_sparing_rows_is_tried_before_a_run_is_called_too_large(studio: Callable[..., Studio]) -> None:
    lab = studio()
    lab.ask("warm", steps=1)[1].made()
    original = lab.model.denoise

    def tight(states: Any, *, sparing: bool = False) -> list[int]:
        if not sparing:
            raise MemoryError("fake")
        return original(states, sparing=sparing)

    lab.model.denoise = tight  # type: ignore[method-assign]
    _, listener, spec = lab.ask("tight", steps=3)
    assert_own(listener, spec)
    assert lab.model.spared == 3


def test_a_decoder_out_of_memory_is_tried_again_sparing(studio: Callable[..., Studio]) -> None:
    _, listener, spec = studio().ask("large")
    assert_own(listener, spec)


def test_a_poisonous_run_fails_alone(studio: Callable[..., Studio]) -> None:
    lab = studio(FakeBackend(held=True))
    good = [lab.ask(f"p{number}", seed=number) for number in range(3)]
    _, poison, _ = lab.ask("poison")
    good[0][1].wait_for_step(0)
    lab.backend.let_go()
    for _, listener, spec in good:
        assert_own(listener, spec)
    failure = poison.broken().failure
    assert (failure.code, failure.blame) == ("engine_error", "infra")
    assert "poison" not in failure.detail, "a failure must not name the prompt"


def test_a_prompt_that_cannot_be_prepared_fails_alone(studio: Callable[..., Studio]) -> None:
    lab = studio(FakeBackend(held=True))
    _, first, _ = lab.ask("first", steps=2)
    first.wait_for_step(0)
    _, unreadable, _ = lab.ask("unreadable")
    _, beside, spec = lab.ask("beside")
    lab.backend.let_go()
    assert unreadable.broken().failure.code == "engine_error"
    assert_own(beside, spec)
    first.made()


def test_numbers_that_are_not_finite_blame_the_order(studio: Callable[..., Studio]) -> None:
    _, listener, _ = studio().ask("not finite")
    assert listener.broken().failure.blame == "job"


def test_a_preview_that_fails_costs_nothing_but_itself(studio: Callable[..., Studio]) -> None:
    _, listener, spec = studio().ask("no preview", previews=True)
    assert_own(listener, spec)
    assert not any(isinstance(report, Preview) for report in listener.reports)


def test_previews_are_throttled_and_small(studio: Callable[..., Studio]) -> None:
    lab = studio()
    _, listener, _ = lab.ask("p", steps=20, previews=True)
    listener.made()
    previews = [report for report in listener.reports if isinstance(report, Preview)]
    assert len(previews) == 1, "the clock stands still, so there is time for one"
    assert len(previews[0].webp) <= 24 * 1024
    assert previews[0].webp[8:12] == b"WEBP"


def test_progress_counts_up_and_estimates_from_the_runs_own_steps(studio: Callable[..., Studio]) -> None:
    lab = studio(FakeBackend(held=True))
    _, listener, _ = lab.ask("p", steps=3)
    listener.wait_for_step(0)
    for step in (1, 2):
        lab.clock.now += 2.0
        lab.backend.permit(1)
        listener.wait_for_step(step)
    lab.backend.let_go()
    listener.made()
    told = [report for report in listener.reports if isinstance(report, Progress)]
    assert [report.step for report in told] == [0, 1, 2, 3]
    assert told[0].eta_seconds is None
    assert told[2].eta_seconds == pytest.approx(2.0)
    assert any(isinstance(report, Developing) for report in listener.reports)


def test_a_run_gives_up_at_its_deadline_and_its_neighbour_goes_on(studio: Callable[..., Studio]) -> None:
    lab = studio(FakeBackend(held=True))
    _, lost, _ = lab.ask("lost", steps=9, give_up=5.0)
    _, neighbour, spec = lab.ask("neighbour", steps=4)
    lost.wait_for_step(0)
    lab.clock.now = 6.0
    lab.backend.let_go()
    assert lost.broken().failure.code == "deadline"
    assert_own(neighbour, spec)


def test_a_model_that_cannot_be_loaded_fails_its_runs_and_no_others(studio: Callable[..., Studio]) -> None:
    lab = studio(FakeBackend(broken={"bad"}), "m", "bad")
    _, bad, _ = lab.ask("x", model="bad")
    _, good, spec = lab.ask("good")
    failure = bad.broken().failure
    assert (failure.code, failure.blame) == ("model_unavailable", "infra")
    assert_own(good, spec)


def test_a_model_that_does_not_fit_beside_another_is_tried_alone(studio: Callable[..., Studio]) -> None:
    class Small(FakeBackend):
        """Memory for one model."""

        def load(self, source: Any) -> FakeFamily:
            if lab.engine.facts is not None and lab.engine.facts.loaded and self.released == 0:
                raise MemoryError("fake")
            return super().load(source)

    lab = studio(Small(), "m", "n", models_in_memory=2)
    lab.ask("x")[1].made()
    _, second, spec = lab.ask("y", model="n")
    assert_own(second, spec)
    facts = lab.engine.facts
    assert facts is not None
    assert facts.loaded == {"n"}


def test_a_model_that_disappeared_fails_its_runs(studio: Callable[..., Studio]) -> None:
    _, listener, _ = studio().ask("x", model="gone")
    assert listener.broken().failure.code == "model_unavailable"


def test_the_least_recently_used_model_makes_room(studio: Callable[..., Studio]) -> None:
    lab = studio(FakeBackend(), "m", "n", "o", models_in_memory=2)
    for model in ("m", "n", "m", "o", "m"):
        lab.ask("x", model=model)[1].made()
    assert lab.backend.loads == ["m", "n", "o"], "m was used last and must have stayed"
    facts = lab.engine.facts
    assert facts is not None
    assert facts.loaded == {"m", "o"}


def test_a_model_in_use_is_not_put_out_and_the_one_that_waits_is_not_starved(studio: Callable[..., Studio]) -> None:
    lab = studio(FakeBackend(held=True), "m", "n", models_in_memory=1, max_batch=3)
    _, first, first_spec = lab.ask("first", steps=3)
    first.wait_for_step(0)
    _, other, other_spec = lab.ask("other", model="n")
    lab.backend.permit(1)
    first.wait_for_step(1)
    lab.clock.now += PATIENCE_SECONDS + 1
    _, younger, younger_spec = lab.ask("younger")
    lab.backend.permit(1)
    first.wait_for_step(2)
    assert younger.steps == -1, "a younger run joined and would keep the older one's model out"
    lab.backend.let_go()
    for listener, spec in ((first, first_spec), (other, other_spec), (younger, younger_spec)):
        assert_own(listener, spec)
    assert lab.backend.loads == ["m", "n", "m"]


def test_stopping_tells_every_run_that_still_lives(studio: Callable[..., Studio]) -> None:
    lab = studio(FakeBackend(held=True))
    _, running, _ = lab.ask("running", steps=50)
    running.wait_for_step(0)
    _, waiting, _ = lab.ask("waiting", model="gone")
    lab.backend.permit(1)
    lab.backend.permit(1)
    lab.engine.stop(timeout=0)
    lab.backend.let_go()
    assert running.broken().failure.code == "engine_stopped"
    assert waiting.broken().failure.code in {"engine_stopped", "model_unavailable"}
    lab.engine.stop()
    _, late, _ = lab.ask("late")
    assert late.broken().failure.code == "engine_stopped"


def test_the_death_of_the_engine_is_told_to_all_its_runs_and_its_owner(studio: Callable[..., Studio]) -> None:
    lab = studio(FakeBackend(held=True))
    _, beside, _ = lab.ask("beside", steps=10**6)
    beside.wait_for_step(0)
    lab.ask("deadly")
    lab.backend.let_go()
    assert beside.broken().failure.code == "engine_error"
    lab.engine.stop()
    assert len(lab.death) == 1


def test_a_run_of_several_pictures_takes_a_place_for_each_and_ends_once(studio: Callable[..., Studio]) -> None:
    lab = studio(FakeBackend(held=True), max_batch=4)
    _, three, spec = lab.ask("three", count=3, seed=5, steps=30)
    three.wait_for_step(0)
    _, beside, beside_spec = lab.ask("beside", seed=9, steps=30)
    lab.permit_until(lambda: beside.steps >= 0)
    lab.backend.let_go()
    made = three.made()
    assert [picture.seed for picture in made.pictures] == [5, 6, 7]
    for index, picture in enumerate(made.pictures):
        with Image.open(io.BytesIO(picture.data)) as image:
            assert np.array_equal(np.asarray(image), pixels_of(spec.row(index)))
    assert made.shared_with == 1, "company is other people's runs, not one's own pictures"
    assert three.ends == 1
    assert_own(beside, beside_spec)
    assert max(len(rows) for rows in lab.model.passes) == 4


def test_more_pictures_than_places_join_as_places_become_free(studio: Callable[..., Studio]) -> None:
    lab = studio(max_batch=2)
    _, many, spec = lab.ask("many", count=7, seed=1)
    made = many.made()
    assert [picture.seed for picture in made.pictures] == list(range(1, 8))
    for index, picture in enumerate(made.pictures):
        with Image.open(io.BytesIO(picture.data)) as image:
            assert np.array_equal(np.asarray(image), pixels_of(spec.row(index)))
    assert max(len(rows) for rows in lab.model.passes) == 2
    steps = [report.step for report in many.reports if isinstance(report, Progress)]
    assert steps == sorted(steps), "progress goes by the slowest picture and never back"


def test_seeds_of_later_pictures_wrap_as_the_protocol_says() -> None:
    spec = RunSpec(model="m", prompt="p", width=16, height=16, steps=1, guidance=1.0, seed=2**63 - 1, count=3)
    assert [spec.row(index).seed for index in range(3)] == [2**63 - 1, 0, 1]


def test_cancelling_a_run_of_several_pictures_stops_all_of_them_and_nobody_else(studio: Callable[..., Studio]) -> None:
    lab = studio(FakeBackend(held=True), max_batch=4)
    mine, listener, _ = lab.ask("mine", count=3, steps=10**6)
    _, neighbour, spec = lab.ask("neighbour", steps=50, seed=3)
    lab.permit_until(lambda: neighbour.steps >= 0)
    lab.engine.cancel(mine)
    lab.backend.let_go()
    assert isinstance(listener.end(), Stopped)
    assert_own(neighbour, spec)
    assert lab.model.passes[-1] == ["neighbour"]
    assert listener.ends == 1


def test_one_broken_picture_ends_its_run_once_and_leaves_the_others(studio: Callable[..., Studio]) -> None:
    lab = studio(max_batch=8)
    _, broken, _ = lab.ask("not finite", count=3)
    _, fine, spec = lab.ask("fine")
    assert broken.broken().failure.code == "not_finite"
    assert_own(fine, spec)
    assert broken.ends == 1


def test_out_of_memory_while_decoding_many_costs_nobody_the_picture(studio: Callable[..., Studio]) -> None:
    lab = studio(max_batch=4)
    asked = [lab.ask(prompt, count=2) for prompt in ("large", "small")]
    for _, listener, spec in asked:
        for index, picture in enumerate(listener.made().pictures):
            with Image.open(io.BytesIO(picture.data)) as image:
                assert np.array_equal(np.asarray(image), pixels_of(spec.row(index)))
    assert lab.backend.released > 0
