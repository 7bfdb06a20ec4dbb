"""Progress of a command on stderr: a bar on a terminal, and lines elsewhere if they are requested."""

import math
import os
import sys
import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final, Self, TextIO

if TYPE_CHECKING:
    from millpond_command.progress_bar import ProgressBar

DELAY_S: Final = 1.0
"""Work that takes less time shows no bar, unless it is requested."""
LINE_EVERY_S: Final = 10.0
CORRECTED_S: Final = 30.0
"""The time constant with which the time left approaches a new estimate; half of the time that was measured, if less."""
DROPPED_FIRST: Final = ("elapsed", "note", "rate", "left")
"""The parts of a status that are left out if it is too long, in this order."""


@dataclass(kw_only=True)
class Count:
    """A count of finished items.

    Attributes:
        unit: The items, such as "texts".
        total: The number of all items; None if it is unknown.
        done: The number of finished items.
        earlier: Those among them that were finished before the start, such as by a job that is resumed.
        note: Further text, such as "3 failed".
        counted_s: The seconds from the start to the last finished item; None if rates are wanted for the whole time.
            Without it, the rate would fall, and the time left would rise, until the next step is finished.
        step: The number of items of the step that is computed; 0 if unknown.
        correction: The ratio of the time left that was shown to its new estimate, when the last step was finished.
    """

    unit: str
    total: int | None = None
    done: int = 0
    earlier: int = 0
    note: str = ""
    counted_s: float | None = None
    step: int = 0
    correction: float = 1.0

    def advance(self, count: int, seconds: float, upcoming: int | None = None) -> None:
        """Add the items of a finished step. The time left does not jump then, but approaches its new estimate.

        Args:
            count: The number of items.
            seconds: The seconds since the start.
            upcoming: The number of items of the next step; None for the same number.
        """
        shown = self.seconds_left(seconds)
        self.done += count
        self.counted_s = seconds
        self.step = count if upcoming is None else upcoming
        estimate = self._estimate(seconds)
        self.correction = 1.0 if shown is None or not estimate else max(shown, 1.0) / estimate

    def rate(self, seconds: float) -> str:
        """Return the number of items per second, such as "812 texts/s", for a number of seconds since the start."""
        rate = (self.done - self.earlier) / max(self._counted(seconds), 1e-9)
        return f"{rate:,.{0 if rate >= 10 else 1 if rate >= 1 else 2}f} {self.unit}/s"  # noqa: PLR2004  three digits

    def left(self, seconds: float) -> str:
        """Return the time that the remaining items take at the same rate, such as "1:10 left"; empty if unknown."""
        left = self.seconds_left(seconds)
        return "" if left is None else f"{format_clock(left)} left"

    def seconds_left(self, seconds: float) -> float | None:
        """Return the seconds that the remaining items take; None if unknown."""
        estimate = self._estimate(seconds)
        if estimate is None:
            return None
        counted = self._counted(seconds)
        fading = math.exp((counted - seconds) / max(min(CORRECTED_S, counted / 2), 1e-9))
        return estimate * math.pow(self.correction, fading)

    def _estimate(self, seconds: float) -> float | None:
        """Return the seconds left at the mean rate; a step that takes longer counts as if it was finished now."""
        computed = self.done - self.earlier
        if self.total is None or not computed or self.done >= self.total:
            return None
        remaining, counted = self.total - self.done, self._counted(seconds)
        since, step = seconds - counted, min(self.step, remaining)
        if step and since > step * counted / computed:
            return (remaining - step) * seconds / (computed + step)
        return max(remaining * counted / computed - since, 0)

    def _counted(self, seconds: float) -> float:
        return seconds if self.counted_s is None else self.counted_s

    def status(self, seconds: float, width: int) -> str:
        """Return count, rate, note, elapsed time and time left, as far as they fit into a number of columns."""
        parts = {
            "count": f"{self.done:,}{'' if self.total is None else f'/{self.total:,}'} {self.unit}",
            "rate": self.rate(seconds),
            "note": self.note,
            "elapsed": format_clock(seconds),
            "left": self.left(seconds),
        }
        for name in DROPPED_FIRST:
            if len(_joined(parts.values(), "  ")) > width:
                del parts[name]
        return _joined(parts.values(), "  ")

    def line(self, seconds: float) -> str:
        """Return the status as a line of a log."""
        total = "" if self.total is None else f" of {self.total:,}"
        share = f" ({100 * self.done / self.total:.0f}%)" if self.total else ""
        count = f"{self.done:,}{total} {self.unit}{share}"
        return _joined([count, self.rate(seconds), self.note, self.left(seconds)], ", ")

    def summary(self, seconds: float) -> str:
        """Return the number of items, the time that they took, and their rate."""
        return f"{self.done - self.earlier:,} {self.unit} in {format_clock(seconds)} ({self.rate(seconds)})"


class Progress:
    """The progress of a command.

    Args:
        shown: True to show a bar on a terminal, and lines elsewhere; None to show a bar on a terminal, if the work
            takes more than a second and has more than one item; False to hide it.
        total: Returns the number of items, or None if it is unknown. Called only if the progress is shown.
        unit: The items, such as "texts".
        earlier: The number of items that were finished before.
    """

    def __init__(
        self, *, shown: bool | None, total: Callable[[], int | None], unit: str = "texts", earlier: int = 0
    ) -> None:
        self._is_terminal = supports_bars(sys.stderr)
        is_shown = self._is_terminal if shown is None else shown
        self._count = Count(unit=unit, total=total() if is_shown else None, done=earlier, earlier=earlier)
        self._begun = time.monotonic()
        self._next_report = self._begun + (DELAY_S if self._is_terminal else LINE_EVERY_S)
        self._bar: ProgressBar | None = None
        self._stream: TextIO | None = sys.stderr if is_shown and (shown or self._count.total != 1) else None
        if shown and self._is_terminal:
            self._report()

    def update(self, count: int, note: str = "", *, upcoming: int | None = None) -> None:
        """Add a number of finished items, and replace the note.

        Args:
            count: The number of items.
            note: The note.
            upcoming: The number of items of the next step, for the time left; None for the same number.
        """
        self._count.note = note
        if count:
            self._count.advance(count, time.monotonic() - self._begun, upcoming)
        if self._bar is not None:
            self._bar.update()
        elif time.monotonic() >= self._next_report:
            self._report()

    @contextmanager
    def paused(self) -> Iterator[None]:
        """Remove the bar while something else is written to the terminal."""
        if self._bar is not None:
            self._bar.stop()
        try:
            yield
        finally:
            if self._bar is not None:
                self._bar.start()

    def finish(self) -> None:
        """Replace the bar by the number of items, the time and the rate; or print a last line."""
        seconds, stream, had_bar = time.monotonic() - self._begun, self._stream, self._bar is not None
        self.close()
        if stream is not None and had_bar:
            _print(self._count.summary(seconds), stream)
        elif stream is not None and not self._is_terminal:
            _print(self._count.line(seconds), stream)

    def close(self) -> None:
        """Remove the bar, also after an error. Does nothing after `finish`."""
        bar, self._bar, self._stream = self._bar, None, None
        if bar is not None:
            bar.stop()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, error: type[BaseException] | None, *_: object) -> None:
        """End the progress; after an error without a summary."""
        if error is None:
            self.finish()
        else:
            self.close()

    def _report(self) -> None:
        """Show the bar, or print a line."""
        if self._stream is None:
            return
        if self._is_terminal:
            from millpond_command.progress_bar import ProgressBar  # noqa: PLC0415  imports rich

            self._bar = ProgressBar(self._count, self._begun, self._stream)
            self._bar.start()
        else:
            now = time.monotonic()
            self._next_report = now + LINE_EVERY_S
            _print(self._count.line(now - self._begun), self._stream)


def supports_bars(stream: TextIO | None) -> bool:
    """Return True for a terminal that can draw a line again."""
    return stream is not None and stream.isatty() and os.environ.get("TERM") not in {"dumb", "unknown"}


def format_clock(seconds: float) -> str:
    """Return a duration as ``0:07``, ``12:07`` or ``1:12:07``."""
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02}:{rest:02}" if hours else f"{minutes}:{rest:02}"


def _print(text: str, stream: TextIO) -> None:
    with suppress(OSError):  # stderr is closed, or its disk is full
        print(text, file=stream, flush=True)


def _joined(parts: Iterable[str], separator: str) -> str:
    return separator.join(part for part in parts if part)


class CallProgress:
    """The progress of one call of ``LLM``, which counts items instead of texts.

    Args:
        progress: The progress of the command.
        num_texts: The number of texts, or of pairs of texts, in the call.
        num_items: The number of items that the call reports; a pair may be two items.
    """

    def __init__(self, progress: Progress, *, num_texts: int, num_items: int) -> None:
        self._progress, self._num_texts, self._num_items = progress, num_texts, num_items
        self._done_items = self._shown_texts = 0

    def update(self, count: int) -> None:
        """Report a number of items."""
        self._done_items += count
        done_texts = self._done_items * self._num_texts // self._num_items
        self._progress.update(done_texts - self._shown_texts)
        self._shown_texts = done_texts

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        """Keep the progress open for the next call."""


def call_progress(progress: Progress, num_texts: int) -> Callable[..., CallProgress]:
    """Return the argument ``use_tqdm`` for one call of ``LLM`` with this number of texts."""
    return lambda *, total, **_: CallProgress(progress, num_texts=num_texts, num_items=total)
