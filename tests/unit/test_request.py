"""What a request may say, and how it is fitted to a model."""

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError

from flows.catalog import FlowError, read_catalog
from jobs.errors import InvalidRequest
from jobs.request import SEED_MAX, Request

HOUSE = read_catalog().shipped["house"]


@pytest.mark.parametrize("prompt", ["", "   ", "\0\0", "\ud800", "x" * 2001, "\u200e" * 2001, None, 7])
def test_prompts_that_are_refused(prompt):
    with pytest.raises(ValidationError):
        Request(prompt=prompt)


@given(st.text(min_size=1, max_size=100, alphabet=st.characters()))
def test_no_accepted_prompt_holds_what_a_database_refuses(text):
    try:
        prompt = Request(prompt=text).prompt
    except ValidationError:
        return
    assert "\0" not in prompt
    prompt.encode("utf-8")
    assert prompt.strip()


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("steps", 0), ("steps", -1), ("steps", 10**9), ("steps", "12"), ("steps", 12.5), ("steps", True), ("width", 513.5), ("width", "512"),
        ("width", 0), ("height", 90_000), ("seed", 2**64), ("seed", -1), ("guidance", float("nan")), ("guidance", float("inf")),
        ("state", "done"), ("user_id", "web:1"), ("kind", "animate"), ("model", ""),
    ],
)  # fmt: skip
def test_fields_that_are_refused(field, value):
    with pytest.raises(ValidationError):
        Request.model_validate({"prompt": "a star", field: value})


def test_blanks_are_filled_with_the_models_defaults_and_the_drawn_seed():
    order = HOUSE.fit(Request(prompt="a star"), seed=42)
    assert (order.width, order.height, order.steps, order.guidance, order.seed) == (128, 128, 12, 3.0, 42)
    assert HOUSE.fit(Request(prompt="a star", seed=SEED_MAX), seed=42).seed == SEED_MAX


@pytest.mark.parametrize(
    ("wish", "code"),
    [
        ({"width": 513, "height": 9000}, "invalid_side"), ({"width": 100}, "invalid_multiple"), ({"steps": 61}, "invalid_steps"),
        ({"guidance": 21.0}, "invalid_guidance"),
    ],
)  # fmt: skip
def test_what_the_model_cannot_do_is_named(wish, code):
    with pytest.raises(InvalidRequest) as refused:
        HOUSE.fit(Request.model_validate({"prompt": "a star", **wish}), seed=0)
    assert refused.value.code == code


def test_a_side_between_two_multiples_is_answered_with_both():
    with pytest.raises(InvalidRequest) as refused:
        HOUSE.fit(Request(prompt="a star", width=100), seed=0)
    assert (refused.value.details["low"], refused.value.details["high"]) == (96, 128)


def test_equal_orders_have_equal_hashes_and_any_difference_shows():
    order = HOUSE.fit(Request(prompt="a star"), seed=1)
    assert order.params_hash == HOUSE.fit(Request(prompt="a star"), seed=1).params_hash
    assert order.params_hash != HOUSE.fit(Request(prompt="a star"), seed=2).params_hash


def test_a_broken_flow_names_its_file_and_field(tmp_path):
    folder = tmp_path / "broken"
    folder.mkdir()
    (folder / "flow.toml").write_text('kind = "text_to_image"\ndefault_model = 7\n[title]\nen = "x"\n')
    with pytest.raises(FlowError, match=r"definitions/broken/flow\.toml: default_model"):
        read_catalog(tmp_path)
