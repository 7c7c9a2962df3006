"""The words of the grammar in English and Spanish: what they mean, and how captions say them."""

import unicodedata
from dataclasses import dataclass
from typing import Literal

Language = Literal["en", "es"]
LANGUAGES: tuple[Language, ...] = ("en", "es")


@dataclass(frozen=True, kw_only=True)
class Noun:
    """A word for a shape: singular, plural, and (in Spanish) whether it is feminine."""

    one: str
    many: str
    feminine: bool = False


def _plain(*words: str) -> tuple[Noun, ...]:
    return tuple(Noun(one=word, many=word + "s") for word in words)


ENGLISH_SHAPES: dict[str, tuple[Noun, ...]] = {
    "circle": _plain("circle", "disc", "disk"),
    "square": _plain("square"),
    "triangle": _plain("triangle"),
    "star": _plain("star"),
    "heart": _plain("heart"),
    "cross": (Noun(one="cross", many="crosses"), Noun(one="plus", many="pluses")),
    "ring": _plain("ring", "hoop"),
    "moon": _plain("moon", "crescent"),
}
SPANISH_SHAPES: dict[str, tuple[Noun, ...]] = {
    "circle": _plain("círculo", "disco"),
    "square": _plain("cuadrado"),
    "triangle": _plain("triángulo"),
    "star": (Noun(one="estrella", many="estrellas", feminine=True),),
    "heart": (Noun(one="corazón", many="corazones"),),
    "cross": (Noun(one="cruz", many="cruces", feminine=True),),
    "ring": _plain("anillo", "aro"),
    "moon": (Noun(one="luna", many="lunas", feminine=True),),
}
ENGLISH_COLOURS: dict[str, tuple[str, ...]] = {
    name: (name,) for name in ("red", "green", "blue", "yellow", "orange", "pink", "white", "black")
} | {"purple": ("purple", "violet"), "cyan": ("cyan", "turquoise")}
SPANISH_COLOURS: dict[str, tuple[tuple[str, str, str, str], ...]] = {
    "red": (("rojo", "roja", "rojos", "rojas"),),
    "green": (("verde", "verde", "verdes", "verdes"),),
    "blue": (("azul", "azul", "azules", "azules"),),
    "yellow": (("amarillo", "amarilla", "amarillos", "amarillas"),),
    "purple": (("morado", "morada", "morados", "moradas"), ("violeta", "violeta", "violetas", "violetas")),
    "orange": (("naranja", "naranja", "naranjas", "naranjas"),),
    "cyan": (("cian", "cian", "cian", "cian"), ("turquesa", "turquesa", "turquesas", "turquesas")),
    "pink": (("rosa", "rosa", "rosas", "rosas"),),
    "white": (("blanco", "blanca", "blancos", "blancas"),),
    "black": (("negro", "negra", "negros", "negras"),),
}
"""Masculine and feminine singular, masculine and feminine plural."""

COUNT_WORDS: dict[str, int] = {
    "a": 1, "an": 1, "one": 1, "un": 1, "una": 1, "uno": 1, "1": 1,
    "two": 2, "dos": 2, "2": 2, "three": 3, "tres": 3, "3": 3, "four": 4, "cuatro": 4, "4": 4,
    "five": 5, "six": 6, "seven": 7, "eight": 8, "nine": 9, "ten": 10, "cinco": 5, "seis": 6, "siete": 7,
    "ocho": 8, "nueve": 9, "diez": 10, "5": 5, "6": 6, "7": 7, "8": 8, "9": 9,
}  # fmt: skip
PLACE_WORDS: dict[str, str] = {
    "center": "centre", "centre": "centre", "middle": "centre", "centro": "centre", "medio": "centre",
    "top": "top", "upper": "top", "arriba": "top", "superior": "top",
    "bottom": "bottom", "lower": "bottom", "abajo": "bottom", "inferior": "bottom",
    "left": "left", "izquierda": "left", "izquierdo": "left",
    "right": "right", "derecha": "right", "derecho": "right",
}  # fmt: skip
GROUND_BEFORE = frozenset({"background", "ground", "backdrop"})
"""English: the colour stands before these words."""
GROUND_AFTER = frozenset({"fondo"})
"""Spanish: the colour stands after these words."""
ON_WORDS = frozenset({"on", "over", "against", "sobre", "en", "contra"})
AND_WORDS = frozenset({"and", "y", "plus_", ",", ";", "&"})
ENGLISH_PLACES: dict[str, tuple[str, ...]] = {
    "centre": ("in the center", "in the centre", "in the middle", "at the center"),
    "left": ("on the left", "at the left", "on the left side"),
    "right": ("on the right", "at the right", "on the right side"),
    "top left": ("at the top left", "in the top left corner", "in the upper left", "top left"),
    "top right": ("at the top right", "in the top right corner", "in the upper right", "top right"),
    "bottom left": ("at the bottom left", "in the bottom left corner", "in the lower left", "bottom left"),
    "bottom right": ("at the bottom right", "in the bottom right corner", "in the lower right", "bottom right"),
}
SPANISH_PLACES: dict[str, tuple[str, ...]] = {
    "centre": ("en el centro", "en medio", "al centro"),
    "left": ("a la izquierda", "en el lado izquierdo"),
    "right": ("a la derecha", "en el lado derecho"),
    "top left": ("arriba a la izquierda", "en la esquina superior izquierda"),
    "top right": ("arriba a la derecha", "en la esquina superior derecha"),
    "bottom left": ("abajo a la izquierda", "en la esquina inferior izquierda"),
    "bottom right": ("abajo a la derecha", "en la esquina inferior derecha"),
}
ENGLISH_FILLERS = (
    "a photo of", "a picture of", "a drawing of", "an image of", "draw", "show me", "please draw", "paint", "make",
)  # fmt: skip
SPANISH_FILLERS = (
    "una foto de", "un dibujo de", "una imagen de", "dibuja", "muéstrame", "pinta", "por favor dibuja", "haz",
)  # fmt: skip


def fold(text: str) -> str:
    """Lower case without accents, as words are looked up."""
    decomposed = unicodedata.normalize("NFD", text.lower())
    return "".join(letter for letter in decomposed if not unicodedata.combining(letter))


def colour_words() -> dict[str, str]:
    """Every word for a colour, folded, in both languages."""
    found = {word: name for name, words in ENGLISH_COLOURS.items() for word in words}
    found |= {fold(form): name for name, words in SPANISH_COLOURS.items() for forms in words for form in forms}
    return found | {"aqua": "cyan", "rosado": "pink", "rosada": "pink", "rosados": "pink", "rosadas": "pink"}


def shape_words() -> dict[str, tuple[str, bool]]:
    """Every word for a shape, folded, in both languages: the shape, and whether the word is a plural."""
    found: dict[str, tuple[str, bool]] = {}
    for lexicon in (ENGLISH_SHAPES, SPANISH_SHAPES):
        for shape, nouns in lexicon.items():
            for noun in nouns:
                found[fold(noun.many)] = (shape, True)
                found[fold(noun.one)] = (shape, False)
    return found


def vocabulary() -> list[str]:
    """Every word that a caption of the house can hold, accented and not, in a fixed order: the tokenizer's words."""
    phrases = [*ENGLISH_FILLERS, *SPANISH_FILLERS, *COUNT_WORDS, *PLACE_WORDS]
    phrases += [*sorted(GROUND_BEFORE), *sorted(GROUND_AFTER), *sorted(ON_WORDS), "and", "y", ",", ".", "&"]
    phrases += [phrase for table in (ENGLISH_PLACES, SPANISH_PLACES) for many in table.values() for phrase in many]
    phrases += [word for lexicon in (ENGLISH_SHAPES, SPANISH_SHAPES) for nouns in lexicon.values()
                for noun in nouns for word in (noun.one, noun.many)]  # fmt: skip
    phrases += [*colour_words()] + [form for words in SPANISH_COLOURS.values() for forms in words for form in forms]
    phrases += ["the", "el", "la", "of", "with", "con", "please", "color", "colour", "side"]
    words = [word for phrase in phrases for word in phrase.split()]
    return list(dict.fromkeys(form for word in words for form in (word, fold(word))))
