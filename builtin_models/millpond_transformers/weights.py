"""Builds and loads model classes with the loader of transformers, which supports all checkpoint layouts."""

from dataclasses import dataclass
from inspect import signature
from typing import Any

import torch
from torch import Tensor
from transformers import PreTrainedConfig, PreTrainedModel

from millpond.types.errors import CheckpointError
from millpond_transformers.quiet import quiet


@dataclass(frozen=True, kw_only=True)
class LoadedBody:
    """A loaded model, with the names of unused and missing tensors of its checkpoint."""

    body: PreTrainedModel
    unused: list[str]
    missing: list[str]


def load_body(
    body_class: type[PreTrainedModel],
    config: PreTrainedConfig,
    state: dict[str, Tensor],
    *,
    dtype: torch.dtype,
    headless: bool,
) -> LoadedBody:
    """Build a model class and load tensors that are already in memory; no files are read and no code is downloaded.

    Args:
        body_class: The model class.
        config: Its config.
        state: The checkpoint's tensors by name.
        dtype: The dtype of the model.
        headless: True to omit the pooling layer, which only heads need, if the class supports that.

    Raises:
        CheckpointError: If the class cannot be built, or the shape of a tensor does not match.
    """
    options: dict[str, Any] = {}
    if headless and "add_pooling_layer" in signature(body_class.__init__).parameters:
        options["add_pooling_layer"] = False
    try:
        with quiet():
            loaded: Any = body_class.from_pretrained(
                None,
                config=config,
                state_dict=_strip_prefix(state) if headless else state,
                dtype=dtype,
                output_loading_info=True,
                local_files_only=True,
                **options,
            )
            body, info = loaded
    except Exception as error:  # the library raises any type for an invalid checkpoint
        reason = " ".join(str(error).split())
        message = f"transformers' {body_class.__name__} cannot be loaded: {type(error).__name__}: {reason}"
        raise CheckpointError(message) from error
    if getattr(config, "is_causal", None) is False:  # the config only affects masks; layers have their own attribute
        for module in body.modules():
            if hasattr(module, "is_causal"):
                module.is_causal = False
    return LoadedBody(
        body=body.eval().requires_grad_(requires_grad=False),
        unused=sorted(info["unexpected_keys"]),
        missing=sorted(info["missing_keys"]),
    )


def _strip_prefix(state: dict[str, Tensor]) -> dict[str, Tensor]:
    """Remove the prefix ``model.`` that newer files of vision-language models have before all parts.

    Only the class with a head distinguishes these names from older ones, in which ``model.`` is part of the text model.
    """
    if not any(name.startswith("model.language_model.") for name in state):
        return state
    return {name.removeprefix("model."): tensor for name, tensor in state.items()}
