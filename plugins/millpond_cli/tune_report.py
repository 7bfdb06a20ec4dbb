"""What ``millpond tune`` tells of what it tried and chose: as a table, and as JSON."""

from collections.abc import Iterator
from dataclasses import asdict
from pathlib import Path
from typing import Any

from millpond.loading.profile import Profile
from millpond_cli.lab import Attempt
from millpond_cli.tables import table
from millpond_cli.tuning import Tuning

HEADING = ["SETTING", "VALUE", "TOKENS/CPU S", "TOKENS/S", "TIMES DEFAULT", ""]
VERDICTS = {
    "default": "the default",
    "chosen": "chosen",
    "faster": "faster, though not the one to take",
    "slower": "slower",
    "no_difference": "no difference that can be told",
    "too_few_rounds": "too few rounds to tell",
    "hopeless": "hopeless: less than half as fast",
    "refused": "refused",
    "not_tried": "not tried",
}


def record_of(model: str, profile: Profile, found: Tuning, path: Path | None) -> dict[str, Any]:
    """All of it, as JSON has it."""
    return {
        "model": model,
        "stored": None if path is None else str(path),
        "profile": profile.model_dump(),
        "tried": [asdict(attempt) for attempt in found.attempts],
    }


def lines_of(profile: Profile, found: Tuning, path: Path | None) -> Iterator[str]:
    """The same for a person."""
    yield table([HEADING, *map(_row, found.attempts)], right=(2, 3))
    settings, gain = profile.settings, profile.measured.gain
    yield ""
    if gain is not None:
        yield f"Chosen: {settings}; {gain:.2f} times as fast as the defaults."
    elif any(attempt.setting == "all" for attempt in found.attempts):
        yield f"Chosen: {settings}; what was faster by itself is not, all together."
    else:
        yield f"Chosen: {settings}; nothing else was faster by more than the rounds differ."
    yield "Stored: nothing." if path is None else f"Stored: {path}"


def _row(attempt: Attempt) -> list[str]:
    ratio = "" if attempt.ratio is None else f"{attempt.ratio:.2f}"
    if attempt.spread is not None and attempt.rounds > 1 and attempt.verdict != "default":
        ratio += f" ± {attempt.spread:.2f}"
    return [
        "all together" if attempt.setting == "all" else attempt.setting,
        str(attempt.value),
        _number(attempt.tokens_per_cpu_second),
        _number(attempt.tokens_per_second),
        ratio,
        ": ".join(filter(None, (VERDICTS[attempt.verdict], attempt.reason))),
    ]


def _number(value: float | None) -> str:
    return "" if value is None else f"{value:,.0f}"
