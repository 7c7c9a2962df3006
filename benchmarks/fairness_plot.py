"""The table of benchmarks.fairness as an SVG: fairness to the right, work upwards, one panel a load."""

from collections.abc import Mapping
from html import escape

from tests.fairness.loads import Score

WIDTH, HEIGHT, MARGIN = 440, 300, 54

COLOURS = {
    "darkroom": "#0b7a75",
    "darkroom, D = S": "#5aa9a5",
    "darkroom, D = 10 S": "#5aa9a5",
    "darkroom, riders without window": "#b0872f",
    "FIFO": "#8a4f7d",
    "round robin": "#4a5fa5",
    "InvokeAI": "#666666",
    "affinity only": "#b3402e",
}


def draw(table: Mapping[str, Mapping[str, Score]]) -> str:
    """The whole picture."""
    panels = [_panel(title, scores, n % 2 * WIDTH, n // 2 * HEIGHT) for n, (title, scores) in enumerate(table.items())]
    rows = (len(table) + 1) // 2
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {2 * WIDTH} {rows * HEIGHT}" font-family="system-ui, sans-serif" '
        f'font-size="11" role="img"><title>Work against fairness, by rule and load</title>'
        f'<rect width="100%" height="100%" fill="#fcfbf8"/>{"".join(panels)}</svg>\n'
    )


def _panel(title: str, scores: Mapping[str, Score], left: float, top: float) -> str:
    most = max(score.work for score in scores.values()) * 1.1
    lowest = min(0.6, *(score.jain for score in scores.values())) - 0.05

    def x(jain: float) -> float:
        return left + MARGIN + (jain - lowest) / (1.02 - lowest) * (WIDTH - MARGIN - 20)

    def y(work: float) -> float:
        return top + HEIGHT - 40 - work / most * (HEIGHT - 80)

    parts = [
        f'<text x="{left + MARGIN}" y="{top + 20}" font-weight="600" fill="#222">{escape(title)}</text>',
        f'<path d="M{x(lowest)} {y(most)}V{y(0)}H{x(1.02)}" fill="none" stroke="#999"/>',
        f'<text x="{x(1.0)}" y="{y(0) + 26}" text-anchor="end" fill="#555">Jain index of those who always want more →</text>',
        f'<text x="{left + 14}" y="{y(0)}" transform="rotate(-90 {left + 14} {y(0)})" fill="#555">solo seconds a second and GPU →</text>',
    ]
    ticks = [round(lowest + 0.05, 1) + n * 0.1 for n in range(8)]
    parts += [f'<text x="{x(t)}" y="{y(0) + 13}" text-anchor="middle" fill="#777">{t:.1f}</text>' for t in ticks if lowest < t <= 1.001]
    parts += [
        f'<text x="{x(lowest) - 5}" y="{y(most * n / 4) + 4}" text-anchor="end" fill="#777">{most * n / 4:.1f}</text>' for n in range(1, 4)
    ]
    taken: list[tuple[float, float]] = []
    for name, score in scores.items():
        parts.append(_point(name, x(score.jain), y(score.work), taken))
    return "".join(parts)


def _point(name: str, x: float, y: float, taken: list[tuple[float, float]]) -> str:
    """A dot and its name, moved down while another name is in the way."""
    at = y + 4
    while any(abs(at - other) < 11 and abs(x - place) < 150 for place, other in taken):
        at += 11
    taken.append((x, at))
    colour, ours = COLOURS[name], name == "darkroom"
    return (
        f'<circle cx="{x:.1f}" cy="{y:.1f}" r="{6 if ours else 4}" fill="{colour}"/>'
        f'<text x="{x - 9:.1f}" y="{at:.1f}" text-anchor="end" fill="{colour}" font-weight="{700 if ours else 400}">{escape(name)}</text>'
    )
