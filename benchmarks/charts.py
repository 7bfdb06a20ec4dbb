"""Results as pictures: bars and dots with their names and figures beside them, legible without colour."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from contestants import BY_NAME
from matplotlib.axes import Axes
from matplotlib.figure import Figure

Result = Mapping[str, Any]
OURS, PEERS, INK, FAINT = "#0072B2", "#9AA0A6", "#202124", "#5F6368"  # the blue is of Okabe and Ito's palette
WIDTH = 10.0  # inches
ROW, PANEL = 0.34, 1.05  # inches of a bar, and of what stands above and below the bars of a panel
BAR = 0.68  # of the room of a row
GAP = 0.6  # rows between float and int8
ROOM = 1.32  # times the longest bar: what is written beside it needs its place
DPI = 160
FEW = 20  # texts a second; below, a digit behind the point tells something


def draw_throughput(result: Result, path: Path) -> None:
    """Texts a CPU second of each contestant, a panel a workload."""
    comparisons = result["comparisons"]
    figure, panels = _panels([len(comparison["rows"]) for comparison in comparisons])
    for axes, comparison in zip(panels, comparisons, strict=True):
        rows = comparison["rows"]
        order = _in_groups(rows)
        best = max(row["texts_per_cpu_second"]["median"] for row in rows.values())
        for name, place in order.items():
            found = rows[name]["texts_per_cpu_second"]
            axes.barh(place, found["median"], height=BAR, color=_colour(name))
            axes.plot([found["low"], found["high"]], [place, place], color=INK, linewidth=1.2)
            beside = max(found["high"], found["median"]) + best * 0.015
            text = f"{found['median']:,.{0 if found['median'] >= FEW else 1}f}{_precision(rows[name]['precision'])}"
            axes.text(beside, place, text, va="center", fontsize=9, color=INK)
        title = f"{comparison['workload']}, {comparison['model']}: texts a second of CPU"
        _dress(axes, order, title, best * ROOM)
    _save(figure, path, result, "longer is better; the thin line is the range of the rounds")


def draw_latency(result: Result, path: Path) -> None:
    """The median and the 95th percentile of one short text, for each contestant."""
    rows = result["rows"]
    figure, (axes,) = _panels([len(rows)])
    order = _in_groups(rows)
    worst = max(row["p95_ms"]["median"] for row in rows.values())
    for name, place in order.items():
        middle, tail = rows[name]["p50_ms"]["median"], rows[name]["p95_ms"]["median"]
        axes.plot([middle, tail], [place, place], color=_colour(name), linewidth=2.5, solid_capstyle="butt")
        axes.plot([tail, tail], [place - BAR / 4, place + BAR / 4], color=_colour(name), linewidth=2.5)
        axes.plot(middle, place, "o", color=_colour(name), markersize=8)
        said = f"{middle:.1f} / {tail:.1f}{_precision(result['contestants'][name]['precision'])}"
        axes.text(tail + worst * 0.015, place, said, va="center", fontsize=9, color=INK)
    text = (
        f"{result['workload']}, {result['model']}: milliseconds for one text of {result['tokens_of_a_text']:.0f} tokens"
    )
    _dress(axes, order, text, worst * ROOM)
    _save(figure, path, result, "further left is better; the dot is the median, the bar's end the 95th percentile")


def _panels(sizes: Sequence[int]) -> tuple[Figure, list[Axes]]:
    """A figure with a panel for each number of rows, one below the other."""
    heights = [PANEL + ROW * (size + GAP) for size in sizes]
    figure = Figure(figsize=(WIDTH, sum(heights)), dpi=DPI, layout="constrained", facecolor="white")
    panels = figure.subplots(len(sizes), 1, squeeze=False, height_ratios=heights)
    return figure, [row[0] for row in panels]


def _in_groups(names: Mapping[str, Any]) -> dict[str, float]:
    """The place of each row from the top: first those that compute in floating point, then, after a gap, int8."""
    plain = [name for name in names if not BY_NAME[name].quantised]
    quantised = [name for name in names if BY_NAME[name].quantised]
    gap = GAP if plain else 0.0
    return {
        **{name: float(place) for place, name in enumerate(plain)},
        **{name: len(plain) + gap + place for place, name in enumerate(quantised)},
    }


def _precision(precision: str) -> str:
    """What is to be said of a precision that nobody expects: not of float32, and not of int8, which the names tell."""
    return "" if precision in {"float32", "int8"} else f"  in {precision}"


def _colour(name: str) -> str:
    return OURS if BY_NAME[name].is_ours else PEERS


def _dress(axes: Axes, order: Mapping[str, float], title: str, right: float) -> None:
    axes.set_title(title, loc="left", fontsize=11, color=INK, fontweight="bold")
    axes.set_xlim(0, right)
    axes.set_ylim(max(order.values()) + BAR, -BAR)
    axes.set_yticks(list(order.values()), [BY_NAME[name].label for name in order], fontsize=9)
    for name, tick in zip(order, axes.get_yticklabels(), strict=True):
        tick.set_color(OURS if BY_NAME[name].is_ours else INK)
        tick.set_fontweight("bold" if BY_NAME[name].is_ours else "normal")
    axes.tick_params(axis="y", length=0)
    axes.tick_params(axis="x", labelsize=8, colors=FAINT)
    axes.spines[["top", "right", "left"]].set_visible(False)
    axes.spines["bottom"].set_color(FAINT)


def _save(figure: Figure, path: Path, result: Result, reading: str) -> None:
    machine = result["machine"]
    what = "a short run, " if result["short"] else ""
    below = f"{reading}. {machine['processor']}, {machine['cores']} cores; {what}{result['date']}"
    figure.supxlabel(below, fontsize=8, color=FAINT, x=0.01, ha="left")
    path.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(path, metadata={"Software": None})  # so that equal figures make equal files
