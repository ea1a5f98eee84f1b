"""The pictures of a report, as SVG that takes its colours from the page: readable by day, by night and on a phone.

Importing this loads matplotlib, which takes a second: do it where a picture is about to be drawn.
"""

from __future__ import annotations

import io
import random
import re
from bisect import bisect_right
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import matplotlib as mpl
from markupsafe import Markup
from matplotlib.backends.backend_svg import FigureCanvasSVG
from matplotlib.figure import Figure
from matplotlib.ticker import FuncFormatter, LogLocator, MaxNLocator, NullLocator

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Sequence

    from matplotlib.axes import Axes

    from harness.report.course import Arrival, Course, Window

# Each stands for a variable of the page's style sheet, by whose name it is replaced.
COLOURS = {
    "ink": "#010101",
    "faint": "#010102",
    "grid": "#010103",
    "shade": "#010104",
    "published": "#010105",
    "delivered": "#010106",
    "deferred": "#010107",
    "dead": "#010108",
    "ambiguous": "#010109",
    "lane": "#01010a",
}
STYLE: Any = {  # matplotlib names the type of each key
    "svg.fonttype": "none",  # text stays text, in the page's font
    "svg.hashsalt": "ion",
    "text.parse_math": False,  # a $ in a fault's name is a $
    "font.size": 11,
    "text.color": COLOURS["ink"],
    "xtick.color": COLOURS["faint"],
    "ytick.color": COLOURS["faint"],
    "xtick.labelsize": 11,
    "ytick.labelsize": 11,
    "xtick.major.size": 4,
    "ytick.major.size": 0,
    "axes.edgecolor": COLOURS["grid"],
    "axes.facecolor": "none",
    "figure.facecolor": "none",
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.spines.left": False,
    "axes.grid": True,
    "axes.grid.axis": "y",
    "axes.axisbelow": True,
    "axes.linewidth": 1.6,  # as wide as a line, which it hides where that has nothing to say
    "grid.color": COLOURS["grid"],
    "grid.linewidth": 0.7,
    "lines.linewidth": 1.6,
}
WIDE, NARROW = 980, 370  # widths in pixels; the page shows the one that fits
LEFT, RIGHT, BOTTOM, TOP = 56, 12, 26, 10
LANE = 25
LETTER = 6.4  # as wide is one, in pixels, as a rule
MOST_LANES = 12
MOST_POINTS = 1500
FEW_POINTS = 300  # larger dots, where there is room for them
MOST_BINS = 240
BIN_SECONDS = (0.25, 0.5, 1, 2, 5, 10, 15, 30, 60, 120, 300, 600, 1800, 3600)
LOG_FROM = 30  # times the shortest latency; below that, an even scale tells more


@dataclass(frozen=True, kw_only=True, slots=True)
class Picture:
    """One picture.

    Attributes:
        wide: For a screen.
        narrow: For a phone.
        note: What must be said with it.
    """

    wide: Markup
    narrow: Markup
    note: str = ""


def draw(course: Course) -> dict[str, Picture]:
    """All pictures by name; those of which there is nothing to show are left out."""
    with mpl.rc_context(STYLE):
        note, faults = f"Counted in steps of {_bin(course):g} s", len(_names(course))
        if faults > MOST_LANES:
            note += f"; of {faults} faults, all shaded, the first {MOST_LANES} are named"
        found = {"rates": _both(lambda name, width: _rates(course, name, width), note=note)}
        if course.depths:
            found["depth"] = _both(lambda name, width: _depth(course, name, width))
        if course.arrivals:
            shown, note = sample(course.arrivals)
            found["latency"] = _both(lambda name, width: _latency(course, shown, name, width), note=note)
            found["shares"] = _both(lambda name, width: _shares(course.arrivals, name, width))
    return found


def sample(arrivals: Sequence[Arrival]) -> tuple[list[Arrival], str]:
    """As many as a picture bears: ambiguous ones first, then the slowest, then others by lot; and words that say so."""
    if len(arrivals) <= MOST_POINTS:
        return list(arrivals), ""
    first = sorted(arrivals, key=lambda each: (each.kind != "ambiguous", -each.seconds))
    certain, others = first[: MOST_POINTS // 3], first[MOST_POINTS // 3 :]
    chosen = random.Random(0).sample(others, MOST_POINTS - len(certain))  # noqa: S311 - a choice of dots
    note = (
        f"{MOST_POINTS:,} of {len(arrivals):,} mails are shown: {len(certain)} for being ambiguous or slow, "
        "the others drawn by lot"
    )
    return sorted([*certain, *chosen], key=lambda each: each.at), note


def _both(drawing: Callable[[str, int], Markup], *, note: str = "") -> Picture:
    return Picture(wide=drawing("w", WIDE), narrow=drawing("n", NARROW), note=note)


def _rates(course: Course, name: str, width: int) -> Markup:
    names = _names(course)[:MOST_LANES]
    alarms = list(dict.fromkeys(each.name for each in course.alarms))
    lanes = LANE * (len(names) + len(alarms))
    figure, axes = _axes(width, 200 + lanes, top=TOP + lanes)
    _time(axes, course, width)
    edges, counts = _histograms(course)
    axes.stairs(counts["delivered"], edges, fill=True, color=COLOURS["delivered"], alpha=0.16, linewidth=0)
    lines = {"delivered": "-", "published": "-", "deferred": (0, (5, 2)), "dead": (0, (1.5, 1.2))}
    for kind, style in lines.items():
        if any(counts[kind]):
            axes.stairs(counts[kind], edges, color=COLOURS[kind], linestyle=style, linewidth=1.6, baseline=None)
    axes.set_ylim(0, 1.08 * max(1.0, *(max(each) for each in counts.values())))
    axes.yaxis.set_major_locator(MaxNLocator(4))
    axes.yaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:g}/s"))
    for row, fault in enumerate(names):
        windows = [each for each in course.windows if each.name == fault]
        _lane(axes, course, fault, windows, course.kills.get(fault, ()), y=TOP + lanes - LANE * row)
    for row, alarm in enumerate(reversed(alarms), start=1):
        windows = [each for each in course.alarms if each.name == alarm]
        _lane(axes, course, f"alarm: {alarm}", windows, (), y=TOP + LANE * row, colour="ambiguous")
    return _svg(figure, f"rates-{name}", "Mails published, delivered, deferred and dead-lettered a second, over time")


def _names(course: Course) -> list[str]:
    return list(dict.fromkeys(window.name for window in course.windows))


def _lane(
    axes: Axes,
    course: Course,
    text: str,
    windows: Sequence[Window],
    ticks: Iterable[float],
    *,
    y: float,
    colour: str = "lane",
) -> None:
    """A line of its own, its upper edge `y` pixels above the axes: a bar while it lasted, and its name over that."""
    box, span = axes.get_window_extent(), course.ended - course.began
    above = axes.get_xaxis_transform()
    bar = 1 + (y - LANE + 4) / box.height
    for each in windows:
        began = each.began - course.began
        ended = max(each.ended - course.began, began + span / 400)
        axes.plot(
            (began, ended),
            (bar, bar),
            transform=above,
            color=COLOURS[colour],
            linewidth=4,
            solid_capstyle="butt",
            clip_on=False,
        )
    for at in ticks:
        axes.plot(
            at - course.began,
            bar,
            transform=above,
            color=COLOURS["dead"],
            marker="x",
            markersize=6,
            markeredgewidth=1.6,
            clip_on=False,
        )
    text = text.encode("ascii", "replace").decode()  # matplotlib's own font measures nothing else without a warning
    room = int(box.width / LETTER)
    text = text if len(text) <= room else f"{text[: room - 3]}..."
    left = min((windows[0].began - course.began) / span * box.width, box.width - LETTER * len(text))
    axes.annotate(
        text,
        (max(0.0, left) / box.width * span, bar),
        xycoords=above,
        xytext=(0, 5),
        textcoords="offset points",
        ha="left",
        va="baseline",
        fontsize=11,
        annotation_clip=False,
    )


def _depth(course: Course, name: str, width: int) -> Markup:
    figure, axes = _axes(width, 150)
    _time(axes, course, width)
    times = [each.at - course.began for each in course.depths]
    kinds = {
        "visible": ("published", "-", [each.visible for each in course.depths]),
        "in_flight": ("delivered", "-", [each.in_flight for each in course.depths]),
        "delayed": ("deferred", (0, (5, 2)), [each.delayed for each in course.depths]),
        "dead": ("dead", (0, (1.5, 1.2)), [each.dead for each in course.depths]),
    }
    for colour, style, values in kinds.values():
        if any(values):
            axes.step(times, values, where="post", color=COLOURS[colour], linestyle=style)
    axes.set_ylim(0, 1.08 * max(4, *(max(values) for _, _, values in kinds.values())))
    axes.yaxis.set_major_locator(MaxNLocator(4, integer=True))
    axes.yaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:,.0f}"))
    return _svg(figure, f"depth-{name}", "Messages in the input queue and in the dead-letter queue, over time")


def _latency(course: Course, arrivals: Sequence[Arrival], name: str, width: int) -> Markup:
    figure, axes = _axes(width, 210)
    _time(axes, course, width)
    marks = {"straight": ("o", "delivered", 3.4), "retried": ("^", "deferred", 5), "ambiguous": ("D", "ambiguous", 4.6)}
    for kind, (mark, colour, size) in marks.items():
        some = [each for each in arrivals if each.kind == kind]
        if some:
            axes.plot(
                [each.at - course.began for each in some],
                [_seen(each.seconds) for each in some],
                linestyle="none",
                marker=mark,
                markersize=size * (1.5 if len(arrivals) < FEW_POINTS else 1),
                markerfacecolor=COLOURS[colour],
                markeredgewidth=0,
                alpha=0.75 if kind == "straight" else 1,
            )
    _seconds(axes, [each.seconds for each in arrivals])
    return _svg(figure, f"latency-{name}", "How long each mail took from publish to delivery, by when it was published")


def _shares(arrivals: Sequence[Arrival], name: str, width: int) -> Markup:
    narrow = width if width == NARROW else 560
    figure, axes = _axes(narrow, 190)
    took = sorted(_seen(each.seconds) for each in arrivals)
    count = len(took)
    # 200 points along the curve draw it as well as ten thousand.
    ranks = sorted({round(step * (count - 1) / 200) for step in range(201)})
    shares = [(rank + 1) / count for rank in ranks]
    axes.step([0.0, *shares], [took[0], *(took[rank] for rank in ranks)], where="pre", color=COLOURS["delivered"])
    for share in (0.5, 0.95, 0.99):
        axes.axvline(share, color=COLOURS["grid"], linewidth=0.8)
    axes.set_xlim(0, 1)
    axes.set_xticks([0, 0.25, 0.5, 0.75, 0.95], ["0%", "25%", "50%", "75%", "95%"])
    _seconds(axes, took)
    return _svg(figure, f"shares-{name}", "The latency that each share of the mails did not exceed")


def _axes(width: int, height: int, *, top: int = TOP) -> tuple[Figure, Axes]:
    figure = Figure(figsize=(width / 72, height / 72), dpi=72)
    FigureCanvasSVG(figure)
    where = (LEFT / width, BOTTOM / height, (width - LEFT - RIGHT) / width, (height - BOTTOM - top) / height)
    return figure, figure.add_axes(where)


def _time(axes: Axes, course: Course, width: int) -> None:
    """The axis of time, from the run's beginning, with the faults as shade behind whatever is drawn."""
    span = course.ended - course.began
    axes.set_xlim(0, span)
    axes.xaxis.set_major_locator(MaxNLocator(10 if width == WIDE else 5, steps=[1, 2, 3, 5, 6, 10]))
    axes.xaxis.set_major_formatter(FuncFormatter(lambda value, _: _clock(value, long=span > 180)))  # noqa: PLR2004
    for began, ended in course.shade:
        left, right = began - course.began, max(ended - course.began, began - course.began + span / 400)
        axes.axvspan(left, right, facecolor=COLOURS["shade"], edgecolor="none", linewidth=0)


def _seconds(axes: Axes, values: Sequence[float]) -> None:
    low, high = _seen(min(values)), _seen(max(values))
    if high / low > LOG_FROM:
        axes.set_yscale("log")
        axes.set_ylim(low / 1.3, high * 1.3)
        axes.yaxis.set_major_locator(LogLocator(subs=(1, 3) if high / low < 1000 else (1,)))  # noqa: PLR2004
        axes.yaxis.set_minor_locator(NullLocator())
    else:
        axes.set_ylim(0, 1.08 * high)
        axes.yaxis.set_major_locator(MaxNLocator(4))
    axes.yaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:g} s"))


def _seen(seconds: float) -> float:
    return max(seconds, 0.001)  # a logarithmic scale has no zero


def _clock(seconds: float, *, long: bool) -> str:
    if not long:
        return f"{seconds:g} s"
    minutes, rest = divmod(round(seconds), 60)
    return f"{minutes}:{rest:02}"


def _bin(course: Course) -> float:
    span = course.ended - course.began
    wanted = max(span / MOST_BINS, min(1.0, span / 40))
    return next((each for each in BIN_SECONDS if each >= wanted), span / MOST_BINS)


def _histograms(course: Course) -> tuple[list[float], dict[str, list[float]]]:
    """The edges of the steps of time, and how many of each kind there were in each, a second."""
    step = _bin(course)
    number = int((course.ended - course.began) // step) + 1
    edges = [step * index for index in range(number + 1)]
    counts = {}
    for kind in ("published", "delivered", "deferred", "dead"):
        per_bin = [0.0] * number
        for at in getattr(course, kind):
            place = bisect_right(edges, at - course.began) - 1
            per_bin[min(max(place, 0), number - 1)] += 1 / step
        counts[kind] = per_bin
    return edges, counts


def _svg(figure: Figure, name: str, label: str) -> Markup:
    """The picture as a part of the page: no identity but its own, the page's colours and font, short numbers."""
    buffer = io.StringIO()
    nothing = {"Creator": None, "Date": None, "Format": None, "Type": None}
    figure.savefig(buffer, format="svg", metadata=nothing)
    text = buffer.getvalue()
    text = text[text.index("<svg") :]
    box = re.search(r'viewBox="([\d. ]+)"', text)
    body = text[text.index(">") + 1 :]
    body = re.sub(r"<style.*?</style>|<metadata>.*?</metadata>|<!--.*?-->", "", body, flags=re.DOTALL)
    body = re.sub(r"(\d+\.\d\d)\d+", r"\1", body)
    body = re.sub(r" font-family: [^;\"]*;?", "", body)
    for variable, colour in COLOURS.items():
        body = body.replace(colour, f"var(--{variable})")
    used = set(re.findall(r'(?:url\(|href=")#([^)"]+)', body))
    body = re.sub(r' id="([^"]+)"', lambda match: f' id="{name}-{match[1]}"' if match[1] in used else "", body)
    body = re.sub(r'(url\(|href=")#', rf"\1#{name}-", body)
    body = re.sub(r"\n\s*", "\n", body)
    view = box[1] if box else f"0 0 {WIDE} 200"
    return Markup('<svg viewBox="{}" role="img" aria-label="{}">').format(view, label) + Markup(body)  # noqa: S704 - matplotlib escapes the names it is given
