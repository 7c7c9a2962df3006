"""Captions, both ways: a scene into a sentence of the grammar, and a sentence back into a scene."""

import re
from dataclasses import dataclass, field

import numpy as np

from housemodel import words
from housemodel.layout import Layout, Scene, Thing, arrange
from housemodel.palette import distinct
from housemodel.words import Language, Noun

_TOKEN = re.compile(r"[^\W\d_]+|\d+|[,;&]", re.UNICODE)
_LONGEST_PROMPT = 400
_COLOURS = words.colour_words()
_SHAPES = words.shape_words()


# writing ------------------------------------------------------------------------------------------------------------


def caption(scene: Scene, rng: np.random.Generator, language: Language = "en") -> str:
    """One of the many sentences that ask for this scene; `parse` reads each of them back."""
    said = [_group(thing, count, scene, rng, language) for thing, count in _groups(scene, rng)]
    body = (" and " if language == "en" else " y ").join(said)
    if _is(rng, 0.12):
        fillers = words.ENGLISH_FILLERS if language == "en" else words.SPANISH_FILLERS
        body = f"{_pick(rng, fillers)} {body}"
    sentence = _with_ground(body, scene.background, rng, language)
    if language == "es" and _is(rng, 0.25):
        sentence = "".join(words.fold(letter) for letter in sentence)
    return sentence


def _groups(scene: Scene, rng: np.random.Generator) -> list[tuple[Thing, int]]:
    if scene.alike:
        return [(scene.things[0], len(scene.things))]
    groups = [(thing, 1) for thing in scene.things]
    # beside each other without places means left and right, so only placed pairs may be named the other way round
    return groups[::-1] if scene.layout is Layout.CORNERS and _is(rng, 0.5) else groups


def _group(thing: Thing, count: int, scene: Scene, rng: np.random.Generator, language: Language) -> str:
    looks = _english_look(thing, count, rng) if language == "en" else _spanish_look(thing, count, rng)
    if scene.alike or _unplaced(scene):
        return looks
    if scene.layout is Layout.CENTRE and _is(rng, 0.35):
        return looks
    places = words.ENGLISH_PLACES if language == "en" else words.SPANISH_PLACES
    return f"{looks} {_pick(rng, places[thing.place])}"


def _unplaced(scene: Scene) -> bool:
    """Whether a pair leaves its places unsaid; both groups must decide alike, so the scene itself decides."""
    first = scene.things[0]
    return scene.layout is Layout.BESIDE and len(first.colour + first.shape + scene.background) % 3 > 0


def _english_look(thing: Thing, count: int, rng: np.random.Generator) -> str:
    colour = _pick(rng, words.ENGLISH_COLOURS[thing.colour])
    noun = _noun(words.ENGLISH_SHAPES[thing.shape], rng)
    if count > 1:
        return f"{('two', 'three', 'four')[count - 2]} {colour} {noun.many}"
    article = "one" if _is(rng, 0.08) else ("an" if colour[0] in "aeiou" else "a")
    return f"{article} {colour} {noun.one}"


def _spanish_look(thing: Thing, count: int, rng: np.random.Generator) -> str:
    noun = _noun(words.SPANISH_SHAPES[thing.shape], rng)
    forms = words.SPANISH_COLOURS[thing.colour]
    colour = forms[int(rng.integers(len(forms)))][(2 if count > 1 else 0) + noun.feminine]
    if count > 1:
        return f"{('dos', 'tres', 'cuatro')[count - 2]} {noun.many} {colour}"
    return f"{'una' if noun.feminine else 'un'} {noun.one} {colour}"


def _noun(nouns: tuple[Noun, ...], rng: np.random.Generator) -> Noun:
    return nouns[0] if _is(rng, 0.75) else nouns[int(rng.integers(len(nouns)))]


def _with_ground(body: str, background: str, rng: np.random.Generator, language: Language) -> str:
    if language == "es":
        colour = words.SPANISH_COLOURS[background][0][0]
        forms = ("{b} sobre fondo {c}", "{b} sobre un fondo {c}", "{b} en un fondo {c}", "{b}, fondo {c}",
                 "{b} con fondo {c}", "fondo {c}, {b}")  # fmt: skip
    else:
        colour = _pick(rng, words.ENGLISH_COLOURS[background])
        article = "an" if colour[0] in "aeiou" else "a"
        forms = ("{b} on {a} {c} background", "{b} on {a} {c} background", "{b} on {c}", "{b}, {c} background",
                 "{b} against {a} {c} background", "{c} background, {b}")  # fmt: skip
        return _pick(rng, forms).format(a=article, b=body, c=colour)
    return _pick(rng, forms).format(b=body, c=colour)


def _pick(rng: np.random.Generator, choices: tuple[str, ...]) -> str:
    return choices[int(rng.integers(len(choices)))]


def _is(rng: np.random.Generator, share: float) -> bool:
    return float(rng.random()) < share


# reading ------------------------------------------------------------------------------------------------------------


@dataclass
class _Group:
    """What has been read of one group of objects."""

    count: int | None = None
    colour: str | None = None
    shape: str | None = None
    plural: bool = False
    places: list[str] = field(default_factory=list)
    faulty: bool = False


def parse(prompt: str) -> Scene | None:
    """The scene that a prompt asks for, in English or Spanish; None when it asks for nothing in the grammar.

    Unknown words are passed over. A prompt without a background colour means white, or black under light objects.
    """
    tokens = [words.fold(token) for token in _TOKEN.findall(prompt[:_LONGEST_PROMPT])]
    background, rest = _split_ground(tokens)
    groups = _read_groups(rest)
    wanted = _wanted(groups)
    if wanted is None:
        return None
    ground = background or _usual_ground([colour for colour, _, _ in wanted])
    # training keeps to clear contrasts, but a faint one is a fair thing to ask
    if ground is None or ground in {colour for colour, _, _ in wanted}:
        return None
    try:
        return arrange(ground, wanted)
    except ValueError:
        return None


def _usual_ground(colours: list[str]) -> str | None:
    return next((name for name in ("white", "black") if all(distinct(c, name) for c in colours)), None)


def _split_ground(tokens: list[str]) -> tuple[str | None, list[str]]:
    """The background colour, and the words that do not speak of it."""
    for i, token in enumerate(tokens):
        if token in words.GROUND_BEFORE and i and tokens[i - 1] in _COLOURS:
            return _COLOURS[tokens[i - 1]], _without(tokens, i - 1, i + 1)
        if token in words.GROUND_AFTER:
            for j in (i + 1, i + 2):
                if j < len(tokens) and tokens[j] in _COLOURS:
                    return _COLOURS[tokens[j]], _without(tokens, i, j + 1)
    for i, token in enumerate(tokens):
        found = _plain_ground(tokens, i) if token in words.ON_WORDS else None
        if found is not None:
            return _COLOURS[tokens[found]], _without(tokens, i, found + 1)
    return None, tokens


def _plain_ground(tokens: list[str], at: int) -> int | None:
    """Where the colour of "on [a] blue" stands, unless a shape beside it claims the colour."""
    for i in (at + 1, at + 2):
        if i < len(tokens) and tokens[i] in _COLOURS:
            follows = tokens[i + 1] if i + 1 < len(tokens) else ""
            return None if follows in _SHAPES or tokens[i - 1] in _SHAPES else i
    return None


def _without(tokens: list[str], start: int, end: int) -> list[str]:
    # the comma keeps what stood on both sides apart
    return [*tokens[:start], ",", *tokens[end:]]


def _read_groups(tokens: list[str]) -> list[_Group]:
    groups, current = [], _Group()
    for token in tokens:
        if token in words.AND_WORDS:
            current = _close(groups, current)
        else:
            _take(current, token)
    _close(groups, current)
    return groups


def _close(groups: list[_Group], current: _Group) -> _Group:
    """End a group at a comma or "and"; words without a shape belong to the group before, or to the next one."""
    if current.shape is not None:
        groups.append(current)
        return _Group()
    if groups and (current.places or current.colour):
        groups[-1].places += current.places
        groups[-1].colour = groups[-1].colour or current.colour
        return _Group()
    return current


def _take(group: _Group, token: str) -> None:
    if token in _SHAPES:
        group.faulty = group.faulty or group.shape is not None
        group.shape, group.plural = _SHAPES[token]
    elif token in _COLOURS:
        group.faulty = group.faulty or group.colour is not None
        group.colour = _COLOURS[token]
    elif token in words.COUNT_WORDS and group.shape is None:
        group.count = words.COUNT_WORDS[token]
    elif token in words.PLACE_WORDS:
        group.places.append(words.PLACE_WORDS[token])


def _wanted(groups: list[_Group]) -> list[tuple[str, str, str | None]] | None:
    if not groups or len(groups) > 2:
        return None
    wanted: list[tuple[str, str, str | None]] = []
    for group in groups:
        count = group.count or (2 if group.plural else 1)
        place = _place(group.places)
        if group.faulty or group.colour is None or group.shape is None or place == "":
            return None
        if count > 4 or (count > 1 and (place is not None or len(groups) > 1)):
            return None
        wanted += [(group.colour, group.shape, place)] * count
    return wanted


def _place(said: list[str]) -> str | None:
    """The place of the words in it: None for none, "" for words that name no place of the grammar."""
    if not said:
        return None
    both = " ".join(word for word in ("top", "bottom", "left", "right", "centre") if word in said)
    return both if both in words.ENGLISH_PLACES else ""
