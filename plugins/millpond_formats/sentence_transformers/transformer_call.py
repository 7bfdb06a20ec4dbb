"""What sentence_bert_config.json says of how sentence-transformers calls the tokenizer and the transformer."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from millpond.types.errors import CheckpointError

FEATURES, OUTPUT = "feature-extraction", "last_hidden_state"
CHAT = "chat_template"
LENGTHS = ("padding", "truncation", "max_length")  # arguments of the tokenizer's call among those of the template
UNKNOWN = ("chat_template", "continue_final_message", "return_assistant_tokens_mask")
# What the arguments of the tokenizer's call are where they change nothing of its tokens.
AS_EVER: Mapping[str, tuple[object, ...]] = {
    "add_special_tokens": (True,),
    "is_split_into_words": (False,),
    "split_special_tokens": (False,),
    "truncation": (True, "longest_first"),
}


def as_called(said: Mapping[str, Any], path: Path) -> dict[str, Any]:
    """The same, with the longest text as the call of the tokenizer says it (``processing_kwargs``), if it does.

    Args:
        said: What the file holds.
        path: The file, for errors.

    Raises:
        CheckpointError: If a text is read, or the transformer's result taken, in a way that is not known here.
    """
    _check_output(said, path)
    _check_template(said, path)
    options = _options(said)
    longest = options.pop("max_length", None)
    for name, value in options.items():
        if name in AS_EVER and value not in AS_EVER[name]:
            message = (
                f"{path} has sentence-transformers call the tokenizer with {name}={value!r} (processing_kwargs), which "
                "is not known here: without it the results would not be those of the model"
            )
            raise CheckpointError(message)
    return dict(said) if longest is None else {**said, "max_seq_length": longest}


def _options(said: Mapping[str, Any]) -> dict[str, Any]:
    """The arguments of the tokenizer's call for texts; those for all modalities, and of a template, take precedence."""
    options = said.get("processing_kwargs")
    parts = [options.get(name) for name in ("text", "common")] if isinstance(options, Mapping) else []
    parts.append({name: value for name, value in template_options(said).items() if name in LENGTHS})
    return {name: value for part in parts if isinstance(part, Mapping) for name, value in part.items()}


def template_options(said: Mapping[str, Any]) -> Mapping[str, Any]:
    """Variables and options that the chat template is rendered with."""
    options = said.get("processing_kwargs")
    chat = options.get(CHAT) if isinstance(options, Mapping) else None
    return chat if isinstance(chat, Mapping) else {}


def _check_template(said: Mapping[str, Any], path: Path) -> None:
    """Refuse arguments of the chat template's call that mean more than a variable."""
    for name in UNKNOWN:
        if template_options(said).get(name):
            message = (
                f"{path} has sentence-transformers render the chat template with {name} (processing_kwargs), which is "
                "not supported: without it the results would not be those of the model"
            )
            raise CheckpointError(message)


def _check_output(said: Mapping[str, Any], path: Path) -> None:
    """Refuse what is no hidden states of the last layer, such as those of another: ``["hidden_states", -2]``."""
    modalities = said.get("modality_config")
    if not isinstance(modalities, Mapping) or said.get("transformer_task", FEATURES) != FEATURES:
        return
    text = modalities.get("message", modalities.get("text"))
    if not isinstance(text, Mapping):
        return
    name = text.get("method_output_name")
    if text.get("method") == "forward" and name not in (None, OUTPUT, [OUTPUT]):
        message = (
            f"{path} has sentence-transformers take {name!r} of what the transformer gives (modality_config); known is "
            f"{OUTPUT!r} alone"
        )
        raise CheckpointError(message)
