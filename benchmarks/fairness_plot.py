"""The table of benchmarks.fairness as an SVG: fairness to the right, work upwards, one panel a load."""

from collections.abc import Mapping
from html import escape

from tests.fairness.loads import Score

WIDTH, HEIGHT, MARGIN, LEGEND = 440, 300, 54, 56

COLOURS = {
    "darkroom": "#0b7a75",
    "darkroom, D = S": "#7cc4bf",
    "darkroom, D = 10 S": "#2f6f9f",
    "darkroom, riders without window": "#d0a93f",
    "FIFO": "#8a4f7d",
    "round robin": "#c98bb9",
    "InvokeAI": "#666666",
    "affinity only": "#b3402e",
}


def draw(table: Mapping[str, Mapping[str, Score]]) -> str:
    """The whole picture."""
    panels = [_panel(title, scores, n % 2 * WIDTH, n // 2 * HEIGHT) for n, (title, scores) in enumerate(table.items())]
    rows = (len(table) + 1) // 2
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {2 * WIDTH} {rows * HEIGHT + LEGEND}" font-family="system-ui, sans-serif" '
        f'font-size="11" role="img"><title>Work against fairness, by rule and load</title>'
        f'<rect width="100%" height="100%" fill="#fcfbf8"/>{"".join(panels)}{_legend(rows * HEIGHT)}</svg>\n'
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
    # Ours last, so that it lies on top.
    for name, score in sorted(scores.items(), key=lambda item: item[0] == "darkroom"):
        parts.append(_dot(name, x(score.jain), y(score.work)))
    return "".join(parts)


def _dot(name: str, x: float, y: float) -> str:
    ours = name == "darkroom"
    at = f'x="{x - 10:.1f}" y="{y + 4:.1f}" text-anchor="end" font-weight="700"'
    label = f'<text {at} fill="{COLOURS[name]}">{name}</text>' if ours else ""
    shape = f'<circle cx="{x:.1f}" cy="{y:.1f}" r="{6 if ours else 5}" fill="{COLOURS[name]}" stroke="#fcfbf8"/>'
    return f"<g><title>{escape(name)}</title>{shape}{label}</g>"


def _legend(top: float) -> str:
    """Two rows of four names."""
    parts: list[str] = []
    for n, (name, colour) in enumerate(COLOURS.items()):
        x, y = MARGIN + n % 4 * (2 * WIDTH - MARGIN) / 4, top + 16 + n // 4 * 20
        parts.append(f'<circle cx="{x:.0f}" cy="{y - 4}" r="5" fill="{colour}"/>')
        parts.append(f'<text x="{x + 10:.0f}" y="{y}" fill="#333">{escape(name)}</text>')
    return "".join(parts)
