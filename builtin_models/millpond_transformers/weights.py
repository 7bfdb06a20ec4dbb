"""A class of transformers, built and given its values by its own loader, which knows the layouts of all ages."""

from dataclasses import dataclass
from inspect import signature
from typing import Any

import torch
from torch import Tensor
from transformers import PreTrainedConfig, PreTrainedModel

from millpond.types.errors import CheckpointError
from millpond_transformers.quiet import quiet


@dataclass(frozen=True, kw_only=True)
class Loaded:
    """A model, and what its checkpoint has too much and too little."""

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
) -> Loaded:
    """Build a class of transformers from tensors that were read before: no file is looked for, and no code.

    Args:
        body_class: The class.
        config: Its config.
        state: The checkpoint's tensors by their names.
        dtype: What it computes in.
        headless: Whether a layer that only heads need is left out where the class can do without.

    Raises:
        CheckpointError: If it cannot be built, or the shape of a tensor is not that of its parameter.
    """
    given: dict[str, Any] = {}
    if headless and "add_pooling_layer" in signature(body_class.__init__).parameters:
        given["add_pooling_layer"] = False
    try:
        with quiet():
            made: Any = body_class.from_pretrained(
                None,
                config=config,
                state_dict=_stripped(state) if headless else state,
                dtype=dtype,
                output_loading_info=True,
                local_files_only=True,
                **given,
            )
            body, info = made
    except Exception as error:  # what a class is made of is the library's business, and so is what it raises
        reason = " ".join(str(error).split())
        message = f"transformers' {body_class.__name__} cannot be loaded: {type(error).__name__}: {reason}"
        raise CheckpointError(message) from error
    if getattr(config, "is_causal", None) is False:  # of the masks; the layers have one of their own
        for module in body.modules():
            if hasattr(module, "is_causal"):
                module.is_causal = False
    return Loaded(
        body=body.eval().requires_grad_(requires_grad=False),
        unused=sorted(info["unexpected_keys"]),
        missing=sorted(info["missing_keys"]),
    )


def _stripped(state: dict[str, Tensor]) -> dict[str, Tensor]:
    """Tensors of a model of texts and images without the ``model.`` that newer files have before all its parts.

    Such names are told from older ones, in which ``model.`` is its text's, for the class with the head alone.
    """
    if not any(name.startswith("model.language_model.") for name in state):
        return state
    return {name.removeprefix("model."): tensor for name, tensor in state.items()}
