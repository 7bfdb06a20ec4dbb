"""The arguments of the front doors: what vLLM's code passes is taken, renamed, or accepted and logged."""

import logging
import warnings
from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import Any

from millpond.compat import vllm
from millpond.loading.architecture import REWARD
from millpond.loading.resolve import LoadOptions
from millpond.loading.source import SourceOptions
from millpond.types.compute import ComputeOptions
from millpond.types.config import EngineConfig, InputOptions, PoolerConfig
from millpond.types.errors import InvalidInputError
from millpond.types.params import validated

logger = logging.getLogger(__name__)

OLD_TASKS = {"embed": "embed", "classify": "classify", "score": "classify", "reward": REWARD}
REWARDS = "leave it out, and use `LLM.reward(...)` for rewards; for hidden states use `convert='embed'`"

DEFAULTS: Mapping[str, Any] = MappingProxyType(
    {
        "runner": "auto",
        "convert": "auto",
        "dtype": "auto",
        "model_impl": "auto",
        "max_model_len": None,
        "pooler_config": None,
        "hf_overrides": None,
        "trust_remote_code": False,
        "allow_pickle": False,
        "revision": None,
        "hf_token": None,
        "download_dir": None,
        "skip_tokenizer_init": False,
        "io_processor_plugin": None,
        "on_overflow": "error",
        "apply_default_prompt": False,
        "chat_template": None,
        "mixed": "error",
        "allowed_media_domains": (),
        "allowed_local_media_path": "",
        "mm_processor_kwargs": None,
        "limit_mm_per_prompt": None,
        "tokenizer": None,
        "device": "auto",
        "kernels": None,
        "quantization": None,
        "deterministic": False,
        "dedupe": True,
        "max_num_batched_tokens": None,
        "max_num_seqs": None,
        "max_waiting_tokens": None,
        "num_workers": None,
        "profile": None,
    }
)


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
    known = {**DEFAULTS, "kernels": {}, **{name: value for name, value in given.items() if name in DEFAULTS}}
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
    engine = {name: known[name] for name in EngineConfig.model_fields if known.get(name) is not None}
    return Arguments(
        load=LoadOptions(
            runner=known["runner"],
            convert=known["convert"],
            model_impl=known["model_impl"],
            dtype=str(known["dtype"]),
            max_model_len=known["max_model_len"],
            pooler_config=PoolerConfig.parse(known["pooler_config"]),
            hf_overrides=known["hf_overrides"],
            allow_pickle=bool(known["allow_pickle"]),
            skip_tokenizer=bool(known["skip_tokenizer_init"]),
            old_task=known.get("task"),
            io_processor_plugin=known["io_processor_plugin"],
            inputs=validated(InputOptions, {name: known[name] for name in InputOptions.model_fields}, parameter="LLM"),
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
