"""What a request may say, and how it is fitted to a model."""

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError

from flows.catalog import FlowError, read_catalog
from jobs.errors import InvalidRequest
from jobs.request import SEED_MAX, Order, Request

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
        ("state", "done"), ("user_id", "web:1"), ("kind", "paint"), ("model", ""),
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


DIGEST = "ab" * 32


@pytest.mark.parametrize(
    "wish",
    [
        {"kind": "image_to_image"}, {"kind": "inpaint", "image": DIGEST}, {"kind": "text_to_image", "image": DIGEST}, {"kind": "edit", "image": "nope"},
        {"kind": "image_to_image", "image": DIGEST, "mask": DIGEST}, {"count": 0}, {"count": 11}, {"strength": 1.1}, {"scale": 3},
        {"loras": [{"name": "a"}, {"name": "a", "weight": 0.5}]}, {"loras": [{"name": "a", "weight": 2.1}]}, {"loras": [{"name": str(n)} for n in range(9)]},
    ],
)  # fmt: skip
def test_wishes_that_do_not_hang_together_are_refused(wish):
    with pytest.raises(ValidationError):
        Request.model_validate({"prompt": "a red star", **wish})


def test_an_enlargement_needs_no_words_and_a_variation_has_its_picture():
    assert Request(kind="upscale", prompt="", image=DIGEST).prompt == ""
    assert Request(kind="image_to_image", prompt="a red star", image=DIGEST).image == DIGEST


def test_the_hash_leaves_out_lineage_and_everything_at_its_default():
    order = Order(prompt="a red star", model="house", width=64, height=64, steps=4, guidance=3.0, seed=1)
    assert order.model_copy(update={"parent": "job"}).params_hash == order.params_hash
    assert order.model_copy(update={"count": 2}).params_hash != order.params_hash
    assert Order.model_validate(order.model_dump(exclude_defaults=True)).params_hash == order.params_hash


def test_a_model_is_asked_only_for_what_it_can_do():
    able = HOUSE.model_copy(update={"kinds": ("text_to_image", "upscale"), "scales": (2, 4), "count_max": 4, "schedulers": ("euler",), "loras_max": 1})
    wishes: list[tuple[str, dict]] = [
        ("invalid_kind", {"kind": "animate"}), ("invalid_count", {"count": 5}), ("invalid_scheduler", {"scheduler": "x"}),
        ("invalid_loras", {"loras": [{"name": "a"}, {"name": "b"}]}),
    ]  # fmt: skip
    for code, wish in wishes:
        with pytest.raises(InvalidRequest) as refused:
            able.fit(Request.model_validate({"prompt": "a red star", **wish}), seed=1)
        assert refused.value.code == code
    assert able.fit(Request(kind="upscale", prompt="", image=DIGEST), seed=1).scale == 2
    assert able.fit(Request(prompt="a red star", count=3), seed=SEED_MAX).seeds == (SEED_MAX, 0, 1)


@pytest.mark.parametrize("size", [(4000, 3000), (64, 64), (10, 900), (1, 1), (3000, 200)])
def test_the_size_like_a_pictures_is_always_one_the_model_takes(size):
    width, height = HOUSE.size_like(*size)
    assert HOUSE.fit(Request(prompt="x", width=width, height=height), seed=1).width == width
