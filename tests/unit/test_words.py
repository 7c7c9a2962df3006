"""The catalogue: every sentence in every language, figures as data, none missing and none unused."""

import re
from pathlib import Path

import pytest

from jobs import errors
from jobs.words import LANGUAGES, MORE, TRANSLATED, CatalogueError, _add, _read, catalogue, duration, explain, language_of, say

ROOT = Path(__file__).resolve().parents[2]


def test_every_sentence_is_there_in_english_and_spanish_and_what_discord_shows_in_all_languages():
    for key, forms in catalogue().items():
        wanted = {*LANGUAGES, *MORE} if key.split(".")[0] in TRANSLATED else set(LANGUAGES)
        assert {form.split(".")[-1] for form in forms} >= wanted, key
        assert all(text.strip() for text in forms.values()), key


def test_a_further_language_may_not_invent_a_key_nor_change_its_figures():
    known = {"a.b": {"en": "{x}", "es": "{x}"}, "a.c": {"one.en": "1", "other.en": "{n}", "one.es": "1", "other.es": "{n}"}}
    with pytest.raises(CatalogueError, match="there is no"):
        _add("de", {"a": {"z": "?"}}, dict(known))
    with pytest.raises(CatalogueError, match="other figures"):
        _add("de", {"a": {"b": "{y}"}}, dict(known))
    with pytest.raises(CatalogueError, match="one and other"):
        _add("de", {"a": {"c": "{n}"}}, dict(known))


def test_a_missing_language_and_a_differing_figure_are_refused():
    with pytest.raises(CatalogueError, match="needs the forms"):
        _read("x.toml", {"a": {"b": {"en": "only"}}}, {})
    with pytest.raises(CatalogueError, match="other figures"):
        _read("x.toml", {"a": {"b": {"en": "{x}", "es": "{y}"}}}, {})


def test_names_and_descriptions_of_commands_are_such_as_discord_takes_in_every_language():
    for key, forms in catalogue().items():
        section, name = key.split(".")
        for form, told in forms.items():
            if section == "command" and name.endswith(("_about", "_what")):
                assert len(told) <= 100, (key, form)
            elif section == "command" and "{" not in told:
                assert re.fullmatch(r"[-_'\w]{1,32}", told), (key, form)
                assert told == told.lower(), (key, form)
            elif section in ("aspect", "act", "verb"):
                assert len(told) <= 80 or name.endswith(("ask", "used", "deleted")), (key, form)
            elif section == "menu" and name in ("edit", "animate", "use", "info", "describe"):
                assert len(told) <= 32, (key, form)


def test_figures_are_inserted_once_and_never_interpreted():
    text = say("error.unknown_model", "en", model="{models}{0.__class__}%(x)s", models="house")
    assert "{models}{0.__class__}%(x)s" in text


def test_plurals_follow_n():
    assert say("why.ahead", "en", n=1).startswith("1 person ")
    assert say("why.ahead", "es-ES", n=2) == "Antes van 2 personas que han usado menos tiempo."


@pytest.mark.parametrize(("locale", "language"), [("es-419", "es"), ("es-ES", "es"), ("en-US", "en"), ("de", "de"), ("pt-BR", "pt"), ("zh-TW", "zh"), ("ko", "en"), (None, "en"), ("", "en")])
def test_locales_find_their_language(locale, language):
    assert language_of(locale) == language


def test_an_error_without_a_sentence_gets_the_general_one():
    assert explain(errors.DarkroomError("no such code"), "en") == say("error.unknown", "en")


@pytest.mark.parametrize(
    ("seconds", "text"), [(3, "a few seconds"), (12, "10 s"), (33, "35 s"), (58, "1 min"), (90, "1½ min"), (595, "10 min"), (700, "12 min")]
)
def test_durations_are_said_as_people_say_them(seconds, text):
    assert duration(seconds, "en") == text


def test_every_sentence_is_used_and_every_used_one_exists():
    code = "\n".join(
        path.read_text(encoding="utf-8")
        for folder in ("jobs", "bot", "gateway", "workers", "database")
        for path in (ROOT / folder).rglob("*")
        if path.suffix in (".py", ".js", ".html") and "tests" not in path.parts
    )
    sections = {key.split(".")[0] for key in catalogue()}
    either = "|".join(sections)
    literal = set(re.findall(rf"""["'`]((?:{either})\.[a-z0-9_]+)["'`]""", code))
    literal |= set(re.findall(r"\[\[([a-z_]+\.[a-z0-9_]+)\]\]", code))  # the studio page's template
    built = set(re.findall(rf"""["'`]((?:{either})\.)[{{$"'`]""", code))  # f"error.{code}", `why.${code}`
    unknown = {key for key in literal if key not in catalogue()}
    unused = {key for key in catalogue() if key not in literal and not key.startswith(tuple(built) or ("\0",))}
    assert not unknown
    assert not unused
