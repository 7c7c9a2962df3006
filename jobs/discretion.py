"""What may stand in a log: never a prompt, whoever repeats it."""

from jobs.request import Order

_SHARED = 12
"""Letters in a row that no sentence shares with a prompt by chance."""
_SHORTEST = 4


def fit_for_log(text: str, order: Order) -> str:
    """``text``, which a worker said of this order; unless it repeats its words."""
    return "(not repeated here: it quotes the prompt)" if _quotes(text, order) else text


def _quotes(text: str, order: Order) -> bool:
    told = _plain(text)
    return any(piece in told for words in (order.prompt, order.negative) for piece in _pieces(_plain(words)))


def _pieces(words: str) -> list[str]:
    if len(words) <= _SHARED:
        return [words] if len(words) >= _SHORTEST else []
    return [words[at : at + _SHARED] for at in range(len(words) - _SHARED + 1)]


def _plain(text: str) -> str:
    """Without what quoting changes: case, spaces, quotes and the backslashes of escapes."""
    return "".join(letter for letter in text.casefold() if letter.isalnum())
