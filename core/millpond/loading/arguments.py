"""The arguments of the front doors: what vLLM's code passes is taken, renamed, or accepted and logged."""

import inspect
import logging
import warnings
from collections.abc import Callable, Mapping
from dataclasses import dataclass, fields
from os import PathLike, fspath
from typing import Any, ForwardRef, TypeVar

from millpond.compat import vllm
from millpond.loading.architecture import REWARD
from millpond.loading.resolve import LoadOptions
from millpond.loading.source import SourceOptions
from millpond.types.compute import ComputeOptions
from millpond.types.config import EngineConfig, InputOptions, PoolerConfig
from millpond.types.errors import InvalidInputError
from millpond.types.model_args import MODEL_ARGS, ModelArgs, describe
from millpond.types.params import validated

Init = TypeVar("Init", bound=Callable[..., None])
logger = logging.getLogger(__name__)

OLD_TASKS = {"embed": "embed", "classify": "classify", "score": "classify", "reward": REWARD}
REWARDS = "leave it out, and use `LLM.reward(...)` for rewards; for hidden states use `convert='embed'`"

DEFAULTS: Mapping[str, Any] = {name: it.default for name, it in MODEL_ARGS.items()}


@dataclass(frozen=True, kw_only=True)
class Arguments:
    """The arguments of a front door, sorted by who needs them."""

    load: LoadOptions
    source: SourceOptions
    engine: EngineConfig
    device: str
    compute: ComputeOptions
    dedupe: bool = True
    tokenizer: str | None = None


def read_arguments(given: Mapping[str, Any]) -> Arguments:
    """Sort and check the arguments of a front door; those that are not given have their defaults.

    Raises:
        InvalidInputError: If an argument is unknown, or asks for what there is not.
    """
    known = {**DEFAULTS, **{name: value for name, value in given.items() if name in DEFAULTS}}
    known["kernels"] = _checked_kernels(known["kernels"] or {})
    without_effect = [
        name for name, value in given.items() if name not in DEFAULTS and not _read_other(known, given, name, value)
    ]
    if without_effect:
        logger.info("arguments of vLLM without effect here: %s", ", ".join(without_effect))
    if known["convert"] == REWARD and "task" not in known:
        warnings.warn(f"`convert='reward'` was removed: {REWARDS}", DeprecationWarning, stacklevel=3)
    if known["profile"] is not None:
        warnings.warn("`profile` was removed and has no effect: profiles are gone", DeprecationWarning, stacklevel=3)
    if isinstance(known["chat_template"], PathLike):
        known["chat_template"] = fspath(known["chat_template"])
    engine = {name: known[name] for name in EngineConfig.model_fields if known.get(name) is not None}
    return Arguments(
        load=LoadOptions(
            **{
                **{it.name: known[it.name] for it in fields(LoadOptions) if it.name in known},
                "dtype": str(known["dtype"]),
                "pooler_config": PoolerConfig.parse(known["pooler_config"]),
                "allow_pickle": bool(known["allow_pickle"]),
                "skip_tokenizer": bool(known["skip_tokenizer_init"]),
                "old_task": known.get("task"),
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
        device=str(known["device"]),
        compute=ComputeOptions(
            kernels=known["kernels"],
            quantization=known["quantization"],
            batch_invariant=bool(known["deterministic"]),
        ),
        dedupe=bool(known["dedupe"]),
        tokenizer=known["tokenizer"],
    )


def _checked_kernels(given: object) -> dict[str, str]:
    if isinstance(given, Mapping) and all(isinstance(variant, str) for variant in given.values()):
        return dict(given)
    message = f"kernels must be a dict such as {{'attention': 'sdpa'}}; got {given!r}"
    raise InvalidInputError(message, parameter="kernels")


def _read_other(known: dict[str, Any], given: Mapping[str, Any], name: str, value: object) -> bool:
    """Read an argument that only vLLM has; return False if it has no effect, and would have one in vLLM."""
    if name == "task":
        _read_old_task(known, value)
    elif name == "override_pooler_config":
        warnings.warn("`override_pooler_config` was renamed: use `pooler_config`", DeprecationWarning, stacklevel=5)
        known["pooler_config"] = known["pooler_config"] or value
    elif name == "attention_backend":
        if vllm.is_attention_backend(value):
            return False
        chosen = {} if value is None else {"attention": value}
        known["kernels"] = _checked_kernels({**chosen, **known["kernels"]})
    elif name in vllm.RENAMED:
        own = vllm.RENAMED[name]
        known[own] = value if known[own] is None else known[own]
    else:
        return _read_neutral(given, name, value)
    return True


def _read_neutral(given: Mapping[str, Any], name: str, value: object) -> bool:
    """Check an argument that asks for nothing; return False if a note should name it."""
    argument = vllm.engine_argument(name)
    if argument is None:
        close = vllm.similar(name, DEFAULTS)
        hint = f": did you mean {' or '.join(map(repr, close))}?" if close else f"; there are: {', '.join(DEFAULTS)}"
        message = f"LLM() got an unexpected argument {name!r}{hint}"
        raise InvalidInputError(message, parameter=name)
    if argument.asks(value, given):
        raise InvalidInputError(argument.refusal(f"{name}={value!r}"), parameter=name)
    return argument.is_quiet(value)


def _read_old_task(given: dict[str, Any], task: object) -> None:
    if task == "auto":
        return
    if task not in OLD_TASKS:
        message = (
            f"task={task!r}: expected one of auto, {', '.join(OLD_TASKS)}; `runner` and `convert` are its successors"
        )
        raise InvalidInputError(message, parameter="task")
    given["task"] = task
    convert = OLD_TASKS[str(task)]
    instead = REWARDS if convert == REWARD else f"use `convert={convert!r}`"
    warnings.warn(f"`task` was replaced: {instead}", DeprecationWarning, stacklevel=6)
    if given["convert"] == "auto":
        given["convert"] = convert


def takes_model_args(init: Init) -> Init:
    """Let the signature and the documentation of a constructor show the options in place of ``**arguments``."""
    signature = inspect.signature(init)
    own = {it.kind: it for it in signature.parameters.values()}
    options = [
        inspect.Parameter(name, inspect.Parameter.KEYWORD_ONLY, default=it.default, annotation=_annotation(name))
        for name, it in MODEL_ARGS.items()
    ]
    first = [it for it in signature.parameters.values() if it.kind is inspect.Parameter.POSITIONAL_OR_KEYWORD]
    rest = [own[inspect.Parameter.KEYWORD_ONLY], own[inspect.Parameter.VAR_KEYWORD].replace(annotation=Any)]
    vars(init)["__signature__"] = signature.replace(parameters=[*first, *options, *rest])
    lines = [f"    {name}: {describe(name, python=True).replace('`', '``')}" for name in MODEL_ARGS]
    init.__doc__ = inspect.cleandoc(init.__doc__ or "").replace("    plugins:", "\n".join([*lines, "    plugins:"]))
    return init


def _annotation(name: str) -> Any:
    kind = ModelArgs.__annotations__[name].__origin__
    return kind.__forward_arg__ if isinstance(kind, ForwardRef) else kind
