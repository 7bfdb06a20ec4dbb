"""Arguments with which sentence-transformers calls the tokenizer and the transformer (sentence_bert_config.json)."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from millpond.types.errors import CheckpointError

FEATURES, OUTPUT = "feature-extraction", "last_hidden_state"
CHAT = "chat_template"
LENGTH_OPTIONS = ("padding", "truncation", "max_length")  # tokenizer options among those of the template
UNSUPPORTED_TEMPLATE_OPTIONS = ("continue_final_message", "return_assistant_tokens_mask")
# Supported values of tokenizer options: those that do not change the tokens.
SUPPORTED_TOKENIZER_OPTIONS: Mapping[str, tuple[object, ...]] = {
    "add_special_tokens": (True,),
    "is_split_into_words": (False,),
    "split_special_tokens": (False,),
    "truncation": (True, "longest_first"),
}


def with_max_length(config: Mapping[str, Any], path: Path) -> dict[str, Any]:
    """Return the config with ``max_seq_length`` replaced by the ``max_length`` of ``processing_kwargs``, if it is set.

    Args:
        config: The content of the file.
        path: The path of the file, for errors.

    Raises:
        CheckpointError: If an option of the tokenizer, the template or the transformer's output is not supported.
    """
    _check_output(config, path)
    _check_template(config, path)
    options = _tokenizer_options(config)
    max_length = options.pop("max_length", None)
    for name, value in options.items():
        if name in SUPPORTED_TOKENIZER_OPTIONS and value not in SUPPORTED_TOKENIZER_OPTIONS[name]:
            message = (
                f"{path}: unsupported tokenizer option {name}={value!r} in processing_kwargs. Ignoring it would change "
                "the results"
            )
            raise CheckpointError(message)
    return dict(config) if max_length is None else {**config, "max_seq_length": max_length}


def _tokenizer_options(config: Mapping[str, Any]) -> dict[str, Any]:
    """The tokenizer options for texts; options for all modalities and of the template take precedence."""
    options = config.get("processing_kwargs")
    parts = [options.get(name) for name in ("text", "common")] if isinstance(options, Mapping) else []
    parts.append({name: value for name, value in template_options(config).items() if name in LENGTH_OPTIONS})
    return {name: value for part in parts if isinstance(part, Mapping) for name, value in part.items()}


def template_options(config: Mapping[str, Any]) -> Mapping[str, Any]:
    """Return the variables and options that the chat template is rendered with."""
    options = config.get("processing_kwargs")
    chat = options.get(CHAT) if isinstance(options, Mapping) else None
    return chat if isinstance(chat, Mapping) else {}


def _check_template(config: Mapping[str, Any], path: Path) -> None:
    """Reject template options that are more than variables."""
    for name in UNSUPPORTED_TEMPLATE_OPTIONS:
        if template_options(config).get(name):
            message = (
                f"{path}: unsupported chat template option {name} in processing_kwargs. Ignoring it would change the "
                "results"
            )
            raise CheckpointError(message)


def _check_output(config: Mapping[str, Any], path: Path) -> None:
    """Reject outputs other than the hidden states of the last layer, such as ``["hidden_states", -2]``."""
    modalities = config.get("modality_config")
    if not isinstance(modalities, Mapping) or config.get("transformer_task", FEATURES) != FEATURES:
        return
    text = modalities.get("message", modalities.get("text"))
    if not isinstance(text, Mapping):
        return
    name = text.get("method_output_name")
    if text.get("method") == "forward" and name not in (None, OUTPUT, [OUTPUT]):
        message = f"{path}: unsupported method_output_name {name!r} in modality_config. Supported: {OUTPUT!r}"
        raise CheckpointError(message)
