"""A picture of methods: loss over the bits per parameter of the whole run, as one SVG text."""

import html
import math

WIDTH, HEIGHT = 760, 420
LEFT, RIGHT, TOP, BOTTOM = 64, 170, 20, 48
LABEL_HEIGHT = 13  # two labels that are nearer than this are moved apart


def _ticks(low, high):
    """About six round numbers that cover low..high."""
    step = 10 ** math.floor(math.log10((high - low) / 5))
    step *= next(factor for factor in (1, 2, 5, 10) if (high - low) / (step * factor) <= 6)
    first = math.floor(low / step)
    return [step * i for i in range(first, math.ceil(high / step) + 1)]


def _label_places(points):
    """Heights of the labels, in the order of the points, none above another."""
    places = {}
    last = -math.inf
    for index in sorted(range(len(points)), key=lambda i: points[i][1]):
        last = max(points[index][1] + 4, last + LABEL_HEIGHT)
        places[index] = last
    return [places[index] for index in range(len(points))]


def frontier_svg(points):
    """points: (name, bits per parameter > 0, loss, is it a dense baseline); at least one."""
    bits = [math.log10(point[1]) for point in points]
    decades = range(math.floor(min(bits)), math.ceil(max(bits)) + 1)
    span = max(1, len(decades) - 1)
    losses = [point[2] for point in points]
    ticks = _ticks(min(losses), max(max(losses), min(losses) + 0.01))

    def x(value):
        return LEFT + (WIDTH - LEFT - RIGHT) * (value - decades[0]) / span

    def y(loss):
        return HEIGHT - BOTTOM - (HEIGHT - TOP - BOTTOM) * (loss - ticks[0]) / (ticks[-1] - ticks[0])

    lines = [
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {HEIGHT}" role="img"'
        ' aria-label="Loss over bits per parameter" font-family="sans-serif" font-size="12">',
        "<style>text{fill:#333}.grid{stroke:#ddd}.point{fill:#1565c0}.base{fill:#c62828}"
        "@media(prefers-color-scheme:dark){text{fill:#ddd}.grid{stroke:#444}.point{fill:#64b5f6}"
        ".base{fill:#ef9a9a}}</style>"]
    for decade in decades:
        lines.append(f'<line class="grid" x1="{x(decade):.1f}" x2="{x(decade):.1f}" y1="{TOP}"'
                     f' y2="{HEIGHT - BOTTOM}"/><text x="{x(decade):.1f}" y="{HEIGHT - BOTTOM + 16}"'
                     f' text-anchor="middle">{10 ** decade:g}</text>')
    for tick in ticks:
        lines.append(f'<line class="grid" x1="{LEFT}" x2="{WIDTH - RIGHT}" y1="{y(tick):.1f}"'
                     f' y2="{y(tick):.1f}"/><text x="{LEFT - 6}" y="{y(tick) + 4:.1f}"'
                     f' text-anchor="end">{tick:.4g}</text>')
    lines.append(f'<text x="{(LEFT + WIDTH - RIGHT) / 2}" y="{HEIGHT - 10}" text-anchor="middle">'
                 "bits per parameter in the whole run, of the busier direction</text>")
    lines.append(f'<text transform="translate(14 {HEIGHT / 2}) rotate(-90)" text-anchor="middle">'
                 "loss on held-out data</text>")
    places = _label_places([(x(b), y(point[2])) for b, point in zip(bits, points)])
    for bit, point, place in zip(bits, points, places):
        kind = "base" if point[3] else "point"
        lines.append(f'<circle class="{kind}" cx="{x(bit):.1f}" cy="{y(point[2]):.1f}" r="4"/>'
                     f'<text x="{x(bit) + 8:.1f}" y="{place:.1f}">{html.escape(point[0])}</text>')
    return "\n".join(lines) + "\n</svg>\n"
