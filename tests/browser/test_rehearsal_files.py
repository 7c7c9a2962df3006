"""The rehearsal page as files: its colours are readable, both languages whole, and no text can become markup."""

import gzip
import re
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
PAGE = ROOT / "rehearsal" / "page"
BUDGET = 45 * 1024  # JS and CSS together, gzipped; docs of the look, "Budget"

TEXT, PART = 7.0, 3.0  # WCAG 2: AAA for text, 1.4.11 for parts of controls
GROUNDS = ("room", "bench", "tray", "lift")
PAIRS = [
    *[(ink, ground, TEXT) for ink in ("paper", "paper-2", "lamp", "done", "fail", "calm") for ground in GROUNDS],
    ("on-lamp", "lamp-fill", TEXT),
    ("on-lamp", "lamp-hover", TEXT),
    ("on-calm", "calm", TEXT),
    *[(ink, "lamp-wash", TEXT) for ink in ("paper", "paper-2", "lamp")],
    *[(ink, "fail-wash", TEXT) for ink in ("paper", "paper-2", "fail")],
    ("lamp", "hair", PART),
    *[(part, ground, PART) for part in ("edge", "focus", "lamp") for ground in GROUNDS],
]
SCRIPTS = sorted(PAGE.glob("*.js"))


def colours(selector: str) -> dict[str, str]:
    css = re.sub(r"/\*.*?\*/", "", (PAGE / "tokens.css").read_text(), flags=re.DOTALL)
    body = re.search(re.escape(selector) + r"\s*\{([^}]*)\}", css)
    assert body, f"no block {selector}"
    return dict(re.findall(r"--([\w-]+):\s*(#[0-9a-f]{6})", body[1]))


def luminance(colour: str) -> float:
    """WCAG 2 relative luminance of `#rrggbb`."""
    parts = [int(colour[at : at + 2], 16) / 255 for at in (1, 3, 5)]
    red, green, blue = (part / 12.92 if part <= 0.04045 else ((part + 0.055) / 1.055) ** 2.4 for part in parts)
    return 0.2126 * red + 0.7152 * green + 0.0722 * blue


def ratio(one: str, other: str) -> float:
    high, low = sorted((luminance(one), luminance(other)), reverse=True)
    return (high + 0.05) / (low + 0.05)


@pytest.mark.parametrize("theme", [":root", ':root[data-theme="light"]'])
def test_every_ink_is_readable_on_every_ground(theme: str) -> None:
    palette = colours(theme)
    poor = [
        f"{ink} on {ground}: {ratio(palette[ink], palette[ground]):.2f}"
        for ink, ground, floor in PAIRS
        if ratio(palette[ink], palette[ground]) < floor
    ]
    assert poor == []


def test_light_by_choice_and_light_by_the_system_are_the_same_light() -> None:
    assert colours(':root[data-theme="light"]') == colours(":root:not([data-theme])")


def test_the_two_pages_of_the_house_have_the_same_tokens() -> None:
    copies = [path for path in ROOT.glob("gateway/**/tokens.css") if ".venv" not in path.parts]
    if not copies:
        pytest.skip("the studio page has no tokens.css of its own")
    for copy in copies:
        assert copy.read_text() == (PAGE / "tokens.css").read_text(), f"{copy.name} of the studio differs"


def test_both_languages_have_the_same_words_with_the_same_blanks() -> None:
    english, spanish = re.split(r"\n  es: \{", (PAGE / "words.js").read_text())
    entry = re.compile(r'\b([a-z][a-z0-9_]*): "((?:[^"\\]|\\.)*)"')
    words = [
        {key: sorted(re.findall(r"\{\w+\}", text)) for key, text in entry.findall(part)} for part in (english, spanish)
    ]
    assert len(words[0]) > 100
    assert words[0] == words[1]


def test_every_word_asked_for_exists_and_every_word_is_asked_for() -> None:
    scripts = "".join(path.read_text() for path in SCRIPTS)
    page = (PAGE / "index.html").read_text()
    known = set(re.findall(r'\b([a-z][a-z0-9_]*): "', (PAGE / "words.js").read_text().split("\n  es: {")[0]))
    calls = " ".join(re.findall(r"\bsay\(((?:[^()]|\([^()]*\))*)", scripts))
    asked = set(re.findall(r'"(\w+)"', calls)) | set(re.findall(r'data-(?:say|label)="(\w+)"', page))
    assert asked - known == set()
    made = re.compile(r"^(type_\d+|parts|characters|.*_label)$")  # put together from a part of the key
    assert {key for key in known - asked if not made.match(key)} == set()


@pytest.mark.parametrize("path", SCRIPTS, ids=lambda path: path.name)
def test_no_text_of_a_message_can_become_markup(path: Path) -> None:
    markup = r"innerHTML|outerHTML|insertAdjacentHTML|document\.write|createContextualFragment|DOMParser|srcdoc"
    ways = markup + r"|\beval\(|new Function"
    assert re.findall(ways, path.read_text()) == []


def test_the_page_asks_nothing_of_other_machines() -> None:
    """Addresses in it are namespaces, patterns, or nothing at all."""
    for path in [*SCRIPTS, *PAGE.glob("*.css"), PAGE / "index.html"]:
        assert re.findall(r"""(?:src|href|url|from|import)\s*[=(]?\s*["'(](?:https?:)?//""", path.read_text()) == [], (
            path.name
        )


def test_the_page_is_within_its_budget() -> None:
    together = b"".join(path.read_bytes() for path in [*SCRIPTS, *sorted(PAGE.glob("*.css"))])
    assert len(gzip.compress(together, 9)) <= BUDGET


@pytest.mark.parametrize("path", SCRIPTS, ids=lambda path: path.name)
def test_modules_stay_small(path: Path) -> None:
    assert len(path.read_text().splitlines()) <= 600
