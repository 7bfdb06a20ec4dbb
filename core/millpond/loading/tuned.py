"""Which profile a model is loaded with: what the caller says goes before it, and it goes before the defaults."""

import logging
import os
import shlex
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch

from millpond.errors import InvalidInputError, UnknownNameError
from millpond.loading.arguments import Arguments, ComputeOptions
from millpond.loading.profile import (
    ComputeMode,
    Machine,
    Profile,
    ProfileKey,
    profile_folder,
    read_profile,
    shape_of,
)
from millpond.machine import available_cores, processor_name
from millpond.nn.ops import Setting, check_quantization, choose_kernel

if TYPE_CHECKING:
    from millpond.loading.resolve import Resolution
    from millpond.registry import Registry

logger = logging.getLogger(__name__)


@dataclass(frozen=True, kw_only=True)
class Found:
    """A profile that may be taken.

    Attributes:
        path: Its file.
        given: Whether the caller named that file: then it may come from another machine, and its faults are errors.
    """

    path: Path
    given: bool


def key_of(resolution: "Resolution", compute: ComputeOptions, device: torch.device) -> ProfileKey:
    """What a profile must hold for to be taken for a model; the resolution's dtype is the one it computes in."""
    on_gpu = device.type == "cuda"
    return ProfileKey(
        model=shape_of(resolution.architecture.spec.name, resolution.config),
        mode=ComputeMode(
            device=device.type,
            dtype=resolution.dtype.value,
            quantization=None if compute.quantization is None else str(compute.quantization),
            deterministic=compute.batch_invariant,
        ),
        machine=Machine(
            processor=torch.cuda.get_device_name(device) if on_gpu else processor_name(), cores=available_cores()
        ),
    )


def with_profile(
    registry: "Registry", arguments: Arguments, resolution: "Resolution", device: torch.device
) -> Arguments:
    """The arguments with what a profile says of the things that the caller does not.

    Raises:
        InvalidInputError: If the profile that the caller named is no profile, or one of another model or mode.
        UnknownNameError: If it names a kernel that is not there.
    """
    if arguments.profile is False:
        return arguments
    key = key_of(resolution, arguments.compute, device)
    found = _find(arguments.profile, key)
    if found is None:
        return arguments
    given = arguments.compute.kernels
    try:
        settings = _read(found, key).settings
        added = {op: variant for op, variant in settings.kernels.items() if op not in given}
        with _naming(found.path):
            _check_kernels(registry, added, key.mode, device)
    except (InvalidInputError, UnknownNameError) as error:
        if found.given:
            raise
        logger.warning("%s. It is left aside; `%s` makes it anew", error, _command(resolution, key.mode))
        return arguments
    logger.info("%s: the profile %s is in use: %s", resolution.repository.model, found.path, settings)
    engine = {name: value for name, value in settings.engine.items() if name not in arguments.engine.model_fields_set}
    return replace(
        arguments,
        compute=replace(arguments.compute, kernels={**added, **given}),
        engine=arguments.engine.model_copy(update=engine),
    )


def _command(resolution: "Resolution", mode: ComputeMode) -> str:
    """What to type for a profile of the same model and mode."""
    words = ["millpond", "tune", resolution.repository.model]
    words += ["--dtype", mode.dtype] if resolution.dtype.origin == "user" else []
    words += ["--quantization", mode.quantization] if mode.quantization else []
    words += ["--deterministic"] if mode.deterministic else []
    return shlex.join(words)


def _find(given: bool | Path, key: ProfileKey) -> Found | None:
    if isinstance(given, Path):
        return Found(path=given, given=True)
    folder = profile_folder()
    path = None if folder is None else folder / key.file_name
    return Found(path=path, given=False) if path is not None and os.path.lexists(path) else None


def _read(found: Found, key: ProfileKey) -> Profile:
    profile = read_profile(found.path)
    differences = profile.key.differences(key)
    if found.given:
        moved = differences.pop("machine", None)
        if moved:
            logger.info("the profile %s was measured on another machine: %s", found.path, "; ".join(moved))
    if differences:
        said = "; ".join(difference for part in differences.values() for difference in part)
        raise InvalidInputError(f"the profile {found.path} holds for {said}", parameter="profile")
    return profile


@contextmanager
def _naming(path: Path) -> Iterator[None]:
    try:
        yield
    except (InvalidInputError, UnknownNameError) as error:
        raise UnknownNameError(f"the profile {path} names a kernel that does not serve here: {error}") from error


def _check_kernels(registry: "Registry", named: Mapping[str, str], mode: ComputeMode, device: torch.device) -> None:
    """Refuse kernels that are not there, or do not serve here any more."""
    how: dict[str, Any] = {"device": device, "batch_invariant": mode.deterministic}
    own = Setting(dtype=getattr(torch, mode.dtype), quantization=mode.quantization, **how)
    behind = Setting(dtype=torch.float32, **how)  # poolers and heads
    for op, variant in named.items():
        try:
            choose_kernel(registry, op, own, variant=variant)
        except UnknownNameError:
            if own == behind:
                raise
            choose_kernel(registry, op, behind, variant=variant)
    if "linear" in named:
        check_quantization(registry, own, variant=named["linear"])
