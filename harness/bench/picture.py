"""The picture: mails a second against the round trip time."""

from __future__ import annotations

from typing import TYPE_CHECKING

from matplotlib import rc_context
from matplotlib.figure import Figure

if TYPE_CHECKING:
    from pathlib import Path

    from harness.bench.measurement import Table

STYLES = {"baseline": ("#6b7280", "-"), "ion": ("#0f766e", "-"), "smtp": ("#c2410c", ":"), "sqs": ("#7c3aed", ":")}
LABELS = {"ion": "ion", "smtp": "SMTP alone"}
MARKERS = ("o", "s", "^", "D")


def draw(table: Table, path: Path) -> None:
    """Draw it as SVG; the same table gives the same bytes."""
    cells = [one.cell for one in table.measurements]
    away = sorted({cell.round_trip_ms for cell in cells if cell.connections})
    figure = Figure(figsize=(8, 4.8), layout="constrained")
    axes = figure.add_subplot()
    lines = sorted({(cell.name, cell.connections) for cell in cells if cell.connections})
    for name, connections in lines:
        found = [table.find(name, connections, ms) for ms in away]
        points = [(ms, one.rate) for ms, one in zip(away, found, strict=True) if one]
        color, style = STYLES[name]
        many = sorted({n for other, n in lines if other == name})
        label = name if name == "baseline" else f"{LABELS[name]}, {connections} connection{'s' * (connections > 1)}"
        axes.plot(*zip(*points, strict=True), style, color=color, marker=MARKERS[many.index(connections)], label=label)
    if sqs := table.find("sqs"):
        axes.axhline(sqs.rate, color=STYLES["sqs"][0], linestyle=":", label="SQS alone")
    axes.set_xscale("symlog", linthresh=5)  # linear up to there: it has a 0
    axes.set_xlim(left=-1)
    axes.set_yscale("log")
    axes.set_xticks(away, [str(ms) for ms in away])
    axes.minorticks_off()
    axes.set_xlabel("round trip time to the SMTP server, ms")
    axes.set_ylabel("mails a second")
    ticks = [n for n in (1, 2, 5, 10, 20, 50, 100, 200, 500, 1000) if axes.get_ylim()[0] <= n <= axes.get_ylim()[1]]
    axes.set_yticks(ticks, [str(n) for n in ticks])
    axes.grid(alpha=0.25)
    figure.legend(loc="outside right upper", frameon=False, fontsize="small")
    with rc_context({"svg.hashsalt": "ion", "svg.fonttype": "none", "font.family": "sans-serif"}):
        figure.savefig(path, format="svg", metadata={"Date": None})
