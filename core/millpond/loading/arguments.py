"""Arguments of LLM and AsyncLLM: checked and grouped; plugins translate the arguments of other libraries."""

import inspect
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, fields
from difflib import get_close_matches
from os import PathLike, fspath
from typing import TYPE_CHECKING, Any, ForwardRef, TypeVar

from millpond.model.options import LoadOptions
from millpond.model.source import SourceOptions
from millpond.plugin.blame import blamed_plugin
from millpond.plugin.manager import get_plugin_manager
from millpond.plugin.registry import quantization_schemes
from millpond.types.compute import ComputeOptions, check_names
from millpond.types.config import EngineConfig, InputOptions, PoolerConfig
from millpond.types.errors import InvalidInputError
from millpond.types.model_args import DEFAULTS, ModelArgs, describe
from millpond.types.parallel import ParallelOptions
from millpond.types.params import validated

if TYPE_CHECKING:
    from millpond.plugin.registry import Registry

Init = TypeVar("Init", bound=Callable[..., None])

KNOWN = frozenset(DEFAULTS)


@dataclass(frozen=True, kw_only=True)
class Arguments:
    """The arguments of LLM or AsyncLLM, grouped by the part that uses them."""

    load: LoadOptions
    source: SourceOptions
    engine: EngineConfig
    device: str
    compute: ComputeOptions
    parallel: ParallelOptions
    deduplicate: bool = True
    tokenizer: str | None = None
    cache: str | PathLike[str] | None = None
    cache_size: int | str | None = None


def read_arguments(arguments: Mapping[str, Any], registry: "Registry | None" = None) -> Arguments:
    """Group and check the arguments of LLM or AsyncLLM; missing ones get their defaults.

    Args:
        arguments: The arguments by name.
        registry: The records of plugins, which translate arguments of other libraries; None for all installed plugins.

    Raises:
        InvalidInputError: If an argument is unknown, or requests something that is not supported.
    """
    registry = get_plugin_manager().registry if registry is None else registry
    if not arguments.keys() <= KNOWN:
        arguments = _translated(arguments, registry)
    check_names(arguments, quantization_schemes(registry))
    known = {**DEFAULTS, **arguments}
    known["kernels"] = _checked_kernels(known["kernels"] or {})
    if isinstance(known["chat_template"], PathLike):
        known["chat_template"] = fspath(known["chat_template"])
    parallel = ParallelOptions.read(known)
    engine = {name: known[name] for name in EngineConfig.model_fields if known.get(name) is not None}
    if known["batch_invariant"]:  # a shared prefix changes results by rounding
        engine["enable_prefix_caching"] = False
    return Arguments(
        load=LoadOptions(
            **{
                **{it.name: known[it.name] for it in fields(LoadOptions) if it.name in known},
                "dtype": str(known["dtype"]),
                "pooler_config": PoolerConfig.parse(known["pooler_config"]),
                "allow_pickle": bool(known["allow_pickle"]),
                "skip_tokenizer": bool(known["skip_tokenizer_init"]),
                "text_steps": _checked_steps(known["text_steps"]),
                "inputs": validated(
                    InputOptions, {name: known[name] for name in InputOptions.model_fields}, parameter="LLM"
                ),
            }
        ),
        source=SourceOptions(
            revision=known["revision"],
            token=known["hf_token"],
            download_dir=known["download_dir"],
            allow_pickle=bool(known["allow_pickle"]),
        ),
        engine=validated(EngineConfig, engine, parameter="engine"),
        device=parallel.devices[0] if parallel.devices else str(known["device"]),
        compute=ComputeOptions(
            kernels=known["kernels"],
            quantization=known["quantization"],
            batch_invariant=bool(known["batch_invariant"]),
        ),
        parallel=parallel,
        deduplicate=bool(known["deduplicate"]),
        tokenizer=known["tokenizer"],
        cache=known["cache"],
        cache_size=known["cache_size"],
    )


def _checked_kernels(kernels: object) -> dict[str, str]:
    if isinstance(kernels, Mapping) and all(isinstance(variant, str) for variant in kernels.values()):
        return dict(kernels)
    message = f"kernels must be a dict such as {{'attention': 'sdpa'}}; got {kernels!r}"
    raise InvalidInputError(message, parameter="kernels")


def _checked_steps(steps: object) -> tuple[str, ...] | None:
    names = [steps] if isinstance(steps, str) else steps
    if names is None:
        return None
    if isinstance(names, Sequence) and all(isinstance(name, str) for name in names):
        return tuple(names)
    message = f"text_steps must be the name of a text step, or a list of names; got {steps!r}"
    raise InvalidInputError(message, parameter="text_steps")


def _translated(arguments: Mapping[str, Any], registry: "Registry") -> Mapping[str, Any]:
    """Return arguments by their names in Millpond, translated by the plugins that know them.

    Raises:
        InvalidInputError: If an argument is unknown, or requests something that is not supported.
    """
    names: list[str] = []
    for entry in registry.entries("dialect"):
        dialect = entry.load()
        with blamed_plugin(entry, "failed to read arguments"):
            arguments, names = dialect.translate(arguments), [*names, *dialect.names()]
    name = next((name for name in arguments if name not in KNOWN), None)
    if name is None:
        return arguments
    close = get_close_matches(name, DEFAULTS) or get_close_matches(name, names)
    hint = f": did you mean {' or '.join(map(repr, close))}?" if close else f". Available: {', '.join(DEFAULTS)}"
    raise InvalidInputError(f"LLM() got an unexpected argument {name!r}{hint}", parameter=name)


def takes_model_args(init: Init) -> Init:
    """Show the options in the signature and docstring of a constructor in place of ``**arguments``."""
    signature = inspect.signature(init)
    by_kind = {it.kind: it for it in signature.parameters.values()}
    options = [
        inspect.Parameter(name, inspect.Parameter.KEYWORD_ONLY, default=default, annotation=_annotation(name))
        for name, default in DEFAULTS.items()
    ]
    positional = [it for it in signature.parameters.values() if it.kind is inspect.Parameter.POSITIONAL_OR_KEYWORD]
    rest = [by_kind[inspect.Parameter.KEYWORD_ONLY], by_kind[inspect.Parameter.VAR_KEYWORD].replace(annotation=Any)]
    vars(init)["__signature__"] = signature.replace(parameters=[*positional, *options, *rest])
    lines = [f"    {name}: {describe(name, python=True).replace('`', '``')}" for name in DEFAULTS]
    init.__doc__ = inspect.cleandoc(init.__doc__ or "").replace("    plugins:", "\n".join([*lines, "    plugins:"]))
    return init


def _annotation(name: str) -> Any:
    annotation = ModelArgs.__annotations__[name].__origin__
    return annotation.__forward_arg__ if isinstance(annotation, ForwardRef) else annotation
