"""Comparison of settings, prompts, token ids and files of both sides."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from millpond.types.errors import first_names
from millpond_verify.inputs import Input
from millpond_verify.millpond_side import SettingValue, same_pooling
from millpond_verify.parts import Settings

MAX_SHOWN_TENSORS = 3
MAX_SHOWN_IDS = 4  # on each side of the first difference
ABSENT = "none"


@dataclass(frozen=True, kw_only=True)
class SettingRow:
    """A setting of both sides.

    Attributes:
        name: Its name.
        millpond: Millpond's value.
        origin: The file or rule that Millpond's value comes from.
        reference: The reference's value; None if it does not state one.
        equal: True if the values are equal; None if the reference does not state one.
    """

    name: str
    millpond: Any
    origin: str
    reference: Any
    equal: bool | None

    @property
    def problem(self) -> str | None:
        """The difference in words; None if both sides are equal."""
        if self.equal is not False:
            return None
        return f"{self.name}: Millpond {self.millpond!r}, from {self.origin}; reference {self.reference!r}"


def compare_settings(ours: Mapping[str, SettingValue], theirs: Settings) -> list[SettingRow]:
    """Return a row for each setting of Millpond."""
    return [_row(name, setting, getattr(theirs, name)) for name, setting in ours.items()]


def compare_prompts(ours: Mapping[str, SettingValue], theirs: Mapping[str, str]) -> list[SettingRow]:
    """Return a row for each prompt; prompts that only Millpond has may come from the settings of published models."""
    rows = [_row(f"prompt {name}", setting, theirs.get(name)) for name, setting in ours.items()]
    missing = [(name, text) for name, text in theirs.items() if name not in ours]
    return rows + [
        SettingRow(name=f"prompt {name}", millpond=None, origin=ABSENT, reference=text, equal=False)
        for name, text in missing
    ]


def _row(name: str, ours: SettingValue, reference: Any) -> SettingRow:
    value = ours.value
    equal = None if reference is None else _equal(name, value, reference)
    return SettingRow(name=name, millpond=value, origin=ours.origin, reference=reference, equal=equal)


def _equal(name: str, value: Any, reference: Any) -> bool:
    if name == "pooling" and isinstance(value, str):
        return same_pooling(value, reference)
    return bool(value == reference)


@dataclass(frozen=True, kw_only=True)
class TokenAgreement:
    """The token ids of both sides.

    Attributes:
        equal: The number of inputs with the same token ids.
        count: The number of inputs.
        longest: The largest number of tokens of an input.
        first_difference: The first input with different ids and the ids around the difference; None if all are equal.
    """

    equal: int
    count: int
    longest: int
    first_difference: str | None

    @property
    def problem(self) -> str | None:
        """The difference in words; None if both sides are equal."""
        if self.first_difference is None:
            return None
        return f"{self.count - self.equal} of {self.count} inputs have other token ids. {self.first_difference}"


def compare_tokens(
    actual: Sequence[Sequence[int]], expected: Sequence[Sequence[int]], inputs: Sequence[Input]
) -> TokenAgreement:
    """Compare the token ids of inputs."""
    differing = [
        (it.label, [*ours], [*theirs])
        for ours, theirs, it in zip(actual, expected, inputs, strict=True)
        if [*ours] != [*theirs]
    ]
    return TokenAgreement(
        equal=len(inputs) - len(differing),
        count=len(inputs),
        longest=max(map(len, actual), default=0),
        first_difference=_first_difference(*differing[0]) if differing else None,
    )


def _first_difference(label: str, ours: Sequence[int], theirs: Sequence[int]) -> str:
    shorter = min(len(ours), len(theirs))
    index = next((i for i in range(shorter) if ours[i] != theirs[i]), shorter)
    shown = slice(max(0, index - MAX_SHOWN_IDS), index + MAX_SHOWN_IDS)
    return (
        f"{label}, token {index}: Millpond {ours[shown]} of {len(ours)} ids, reference {theirs[shown]} of {len(theirs)}"
    )


def compare_files(ours: Mapping[str, str], theirs: Mapping[str, str], folders: tuple[Path, Path]) -> list[str]:
    """Return the differences between the files of two folders, in words.

    Args:
        ours: The SHA-256 of each file of the model.
        theirs: The same for the reference.
        folders: The folder of the model and that of the reference.
    """
    differences = [f"{name} is only in the model" for name in sorted(ours.keys() - theirs.keys())]
    differences += [f"{name} is only in the reference" for name in sorted(theirs.keys() - ours.keys())]
    for name in sorted(ours.keys() & theirs.keys()):
        if ours[name] != theirs[name]:
            tensors = _differing_tensors(folders[0] / name, folders[1] / name)
            differences.append(f"{name} differs from that of the reference" + (f": {tensors}" if tensors else ""))
    return differences


def _differing_tensors(one: Path, other: Path) -> str:
    """Return the names of the tensors that differ between two safetensors files; empty for other files."""
    if one.suffix != ".safetensors":
        return ""
    from safetensors import safe_open  # noqa: PLC0415  only needed for weights that differ

    with safe_open(one, framework="pt") as ours, safe_open(other, framework="pt") as theirs:
        shared = sorted({*ours.keys()} & {*theirs.keys()})
        names = sorted({*ours.keys()} ^ {*theirs.keys()})
        names += [name for name in shared if not _same_tensor(ours.get_tensor(name), theirs.get_tensor(name))]
    return first_names(names, MAX_SHOWN_TENSORS)


def _same_tensor(one: Any, other: Any) -> bool:
    return one.dtype == other.dtype and one.shape == other.shape and bool((one == other).all())
