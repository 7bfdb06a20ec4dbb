"""Draw results as bar and dot charts with labels, legible without colour."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from contestants import BY_NAME
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from workloads import described

Result = Mapping[str, Any]
OURS, PEERS, INK, FAINT = "#0072B2", "#9AA0A6", "#202124", "#5F6368"  # the blue is of Okabe and Ito's palette
WIDTH = 5.0  # inches: the texts can be read on a phone, whose screen has about half of this width
ROW_HEIGHT, PANEL_MARGIN = 0.42, 1.0  # inches per bar with its label, and above and below the bars of a panel
BAR_THICKNESS = 0.4  # share of the height of a row; the label is above the bar
LABEL_RAISE = 13  # points from the middle of a bar to the middle of its label
GAP_ROWS = 0.6  # between float and int8
AXIS_FACTOR = 1.32  # length of the axis relative to the longest bar, to leave space for its label
DPI = 150
DECIMALS_BELOW = 20  # texts per second; smaller figures are shown with one decimal


def draw_throughput(result: Result, path: Path) -> None:
    """Draw the texts per CPU second of each contestant, one panel per workload."""
    comparisons = result["comparisons"]
    figure, panels = _panels([len(comparison["rows"]) for comparison in comparisons])
    for axes, comparison in zip(panels, comparisons, strict=True):
        rows = comparison["rows"]
        order = _in_groups(rows)
        best = max(row["texts_per_cpu_second"]["median"] for row in rows.values())
        for name, position in order.items():
            figures = rows[name]["texts_per_cpu_second"]
            axes.barh(position, figures["median"], height=BAR_THICKNESS, color=_colour(name))
            axes.plot([figures["low"], figures["high"]], [position, position], color=INK, linewidth=1.2)
            label_at = max(figures["high"], figures["median"]) + best * 0.015
            decimals = 0 if figures["median"] >= DECIMALS_BELOW else 1
            text = f"{figures['median']:,.{decimals}f}{_precision_note(rows[name]['precision'])}"
            axes.text(label_at, position, text, va="center", fontsize=9, color=INK)
        title = f"{described(comparison['workload'])}, {comparison['model']}:\ntexts per CPU second"
        _format_axes(axes, order, title, best * AXIS_FACTOR)
    _save(figure, path, result, "longer is better; the thin line is the range of the rounds")


def draw_latency(result: Result, path: Path) -> None:
    """Draw the median and the 95th percentile of the latency of each contestant."""
    rows = result["rows"]
    figure, (axes,) = _panels([len(rows)])
    order = _in_groups(rows)
    worst = max(row["p95_ms"]["median"] for row in rows.values())
    for name, position in order.items():
        middle, tail = rows[name]["p50_ms"]["median"], rows[name]["p95_ms"]["median"]
        axes.plot([middle, tail], [position, position], color=_colour(name), linewidth=2.5, solid_capstyle="butt")
        cap = BAR_THICKNESS / 3
        axes.plot([tail, tail], [position - cap, position + cap], color=_colour(name), linewidth=2.5)
        axes.plot(middle, position, "o", color=_colour(name), markersize=8)
        label = f"{middle:.1f} / {tail:.1f}{_precision_note(result['contestants'][name]['precision'])}"
        axes.text(tail + worst * 0.015, position, label, va="center", fontsize=9, color=INK)
    tokens = f"{result['tokens_of_a_text']:.0f}"
    title = f"{described(result['workload'])}, {result['model']}:\nmilliseconds for one text of {tokens} tokens"
    _format_axes(axes, order, title, worst * AXIS_FACTOR)
    _save(figure, path, result, "shorter is better; the dot is the median, the end the 95th percentile")


def _panels(sizes: Sequence[int]) -> tuple[Figure, list[Axes]]:
    """Return a figure with one panel per number of rows, from top to bottom."""
    heights = [PANEL_MARGIN + ROW_HEIGHT * (size + GAP_ROWS) for size in sizes]
    figure = Figure(figsize=(WIDTH, sum(heights)), dpi=DPI, layout="constrained", facecolor="white")
    panels = figure.subplots(len(sizes), 1, squeeze=False, height_ratios=heights)
    return figure, [row[0] for row in panels]


def _in_groups(names: Mapping[str, Any]) -> dict[str, float]:
    """Return the position of each row from the top: floating point first, then, after a gap, int8."""
    plain = [name for name in names if not BY_NAME[name].quantised]
    quantised = [name for name in names if BY_NAME[name].quantised]
    gap = GAP_ROWS if plain else 0.0
    return {
        **{name: float(position) for position, name in enumerate(plain)},
        **{name: len(plain) + gap + position for position, name in enumerate(quantised)},
    }


def _precision_note(precision: str) -> str:
    """Return a note for an unexpected precision; none for float32, and none for int8, which is part of the labels."""
    return "" if precision in {"float32", "int8"} else f"  in {precision}"


def _colour(name: str) -> str:
    return OURS if BY_NAME[name].is_ours else PEERS


def _format_axes(axes: Axes, order: Mapping[str, float], title: str, right: float) -> None:
    axes.set_title(title, loc="left", fontsize=9, color=INK, fontweight="bold")
    axes.set_xlim(0, right)
    axes.set_ylim(max(order.values()) + 0.5, -0.7)
    axes.set_yticks([])
    for name, position in order.items():
        axes.annotate(
            BY_NAME[name].label,
            (0, position),
            (0, LABEL_RAISE),
            textcoords="offset points",
            va="center",
            fontsize=9,
            fontweight="bold" if BY_NAME[name].is_ours else "normal",
            color=OURS if BY_NAME[name].is_ours else INK,
        )
    axes.tick_params(axis="x", labelsize=8, colors=FAINT)
    axes.spines[["top", "right", "left"]].set_visible(False)
    axes.spines["bottom"].set_color(FAINT)


def _save(figure: Figure, path: Path, result: Result, legend: str) -> None:
    machine = result["machine"]
    run = "a short run, " if result["short"] else ""
    caption = f"{legend.capitalize()}.\n{machine['processor']}, {machine['cores']} cores; {run}{result['date']}"
    figure.supxlabel(caption, fontsize=7, color=FAINT, x=0.01, ha="left")
    path.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(path, metadata={"Software": None})  # equal figures give equal files
