"""What ``millpond tune`` does with a model: find it, measure, make a profile of what was found, store or remove it."""

import sys
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any, Self

import torch

import millpond
from millpond.loading.arguments import Arguments
from millpond.loading.build import resolve_model
from millpond.loading.profile import Measured, Profile, ProfileKey
from millpond.loading.tuned import key_of
from millpond.plugins import get_plugin_manager
from millpond_cli.lab import Lab
from millpond_cli.tuning import Tuning, tune

if TYPE_CHECKING:
    from millpond.loading.resolve import Resolution


@dataclass(frozen=True, kw_only=True)
class Subject:
    """A model that was found, and what a profile of it holds for."""

    resolution: "Resolution"
    arguments: Arguments
    device: torch.device
    key: ProfileKey


def find_subject(model: str, arguments: Arguments) -> Subject:
    """Find a model, and decide what it is and where it computes."""
    resolution, device = resolve_model(get_plugin_manager().registry, model, arguments)
    key = key_of(resolution, arguments.compute, device)
    return Subject(resolution=resolution, arguments=replace(arguments, profile=False), device=device, key=key)


def measure(subject: Subject, *, seconds: float, bar: "Bar") -> tuple[Profile, Tuning]:
    """Search for what serves a model best, and make a profile of it."""
    registry, arguments = get_plugin_manager().registry, subject.arguments
    with bar, Lab(registry, subject.resolution, arguments, device=subject.device, seconds=seconds, show=bar) as lab:
        found = tune(lab)
    measured = Measured(
        date=datetime.now(tz=UTC).date().isoformat(),
        millpond=millpond.__version__,
        torch=torch.__version__,
        seconds=round(found.seconds, 1),
        gain=None if found.gain is None else round(found.gain, 3),
        tokens_per_second=round(found.tokens_per_second, 1),
    )
    return Profile(key=subject.key, settings=found.settings, measured=measured), found


class Bar:
    """A progress bar over the seconds that are measured.

    Args:
        total: How many there are to be.
        shown: Whether there is a bar.
    """

    def __init__(self, *, total: float, shown: bool) -> None:
        self._bar: Any = None
        if shown:
            from tqdm import tqdm  # noqa: PLC0415  only for who sees it

            form = "{percentage:3.0f}% |{bar}| {n:.0f}/{total:.0f} s  {desc}"
            self._bar = tqdm(total=total, bar_format=form, dynamic_ncols=True, file=sys.stderr)

    def phase(self, name: str) -> None:
        """Something else is measured from now on."""
        if self._bar is not None:
            self._bar.set_description_str(name)

    def advance(self, seconds: float) -> None:
        """So many seconds more were measured; a machine that is slower than expected does not lengthen the bar."""
        if self._bar is not None:
            self._bar.update(min(seconds, self._bar.total - self._bar.n))

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        """Take the bar away: the table that follows says more."""
        if self._bar is not None:
            self._bar.leave = False
            self._bar.close()
