"""The report of ``millpond verify`` for a terminal: tables of results and settings, and the differences."""

from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, Any

from millpond_command.cli import printable
from millpond_command.tables import table

if TYPE_CHECKING:
    from millpond_verify.agreement import SettingRow
    from millpond_verify.certificate import Verification
    from millpond_verify.measures import Measures

# For each column of the results: its heading, the field of ``Measures``, and its format.
COLUMNS = (
    ("INPUTS", "count", "{}"),
    ("MAX COSINE", "max_cosine_distance", "{:.1e}"),
    ("MEAN COSINE", "mean_cosine_distance", "{:.1e}"),
    ("LENGTHS", "max_length_difference", "{:.1e}"),
    ("MAX ABS", "max_abs_difference", "{:.1e}"),
    ("TOP 10", "top_10_overlap", "{:.1%}"),
    ("LABELS", "equal_labels", "{}"),
)
STATUS = {True: "equal", False: "DIFFERS", None: "not in the reference"}
MAX_VALUE_CHARS = 60


def text_of(verification: "Verification") -> str:
    """Return the report."""
    it = verification
    lines = [f"{it.model} ({it.architecture}), compared with {it.reference}", "", _results(it), ""]
    if it.tokens is not None:
        lines += [
            f"Tokens: {it.tokens.equal} of {it.tokens.count} inputs have equal ids, up to {it.tokens.longest}",
            "",
        ]
    lines += [_settings(it.settings), ""]
    lines += [f"  - {problem}" for problem in it.problems]
    lines.append("passed" if it.passed else "failed")
    return printable("\n".join(lines))


def _results(verification: "Verification") -> str:
    rows = [[*_run_rows(verification)]]
    used = [
        column
        for column in COLUMNS
        if any(measures is not None and getattr(measures, column[1]) is not None for _, measures, _ in rows[0])
    ]
    heading = ["RUN", *(name for name, _, _ in used), "TOLERANCE", "RESULT"]
    body = [[name, *_cells(measures, used), *ending] for name, measures, ending in rows[0]]
    return table([heading, *body], right=range(1, len(heading) - 1))


def _run_rows(verification: "Verification") -> Iterator[tuple[str, "Measures | None", list[str]]]:
    for run in verification.runs:
        for part in run.parts:
            ending = [f"{run.tolerance:.0e}", "failed" if part.problems else "passed"]
            yield f"{run.name}, {part.name}", part.measures, ending


def _cells(measures: "Measures | None", columns: Sequence[tuple[str, str, str]]) -> list[str]:
    values = [None if measures is None else getattr(measures, name) for _, name, _ in columns]
    return ["" if value is None else form.format(value) for value, (_, _, form) in zip(values, columns, strict=True)]


def _settings(rows: "Sequence[SettingRow]") -> str:
    heading = ["SETTING", "MILLPOND", "REFERENCE", "", "FROM"]
    body = [[it.name, _shown(it.millpond), _shown(it.reference), STATUS[it.equal], it.origin] for it in rows]
    return table([heading, *body], wraps=True)


def _shown(value: Any) -> str:
    if value is None:
        return ""
    text = "; ".join(map(str, value)) or "none" if isinstance(value, tuple) else str(value)
    return text if len(text) <= MAX_VALUE_CHARS else f"{text[: MAX_VALUE_CHARS - 3]}..."
