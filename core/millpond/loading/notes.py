"""Warnings about a loaded model that behaves differently from what its files or the caller's options suggest."""

from typing import TYPE_CHECKING

from millpond.model.pooler_settings import SEQ_PATH
from millpond.types.config import InputOptions

if TYPE_CHECKING:
    from millpond.model.model_layers import ModelLayers
    from millpond.model.options import LoadOptions

CAUSAL_SUFFIX = "ForCausalLM"


def notes_on(layers: "ModelLayers", options: "LoadOptions") -> list[str]:
    """Return the notes on a model, in the order in which they are logged.

    Args:
        layers: What is stated about the model.
        options: The caller's options.
    """
    return [
        *_missing_template(layers),
        *_unapplied_prompt(layers, options.inputs),
        *_scored_by_embeddings(layers, options),
        *_unused_image_options(layers, options.inputs),
    ]


def _missing_template(layers: "ModelLayers") -> list[str]:
    """A note if texts should be formatted as messages but the model has no chat template."""
    path, model = "text.message_format", layers.model
    if model.text.message_format is None or "embed" not in model.tasks:
        return []
    if model.prompting.chat_template is not None or layers.repository.reader.chat_template() is not None:
        return []
    note = (
        f"{layers.origin(path)} specifies that texts are formatted as messages, but the folder has no chat "
        "template (chat_template.jinja): texts are used as they are"
    )
    return [note]


def _unapplied_prompt(layers: "ModelLayers", inputs: InputOptions) -> list[str]:
    """A note if the default prompt is not applied, or if it is requested but the model has none."""
    name = layers.model.prompting.default_name
    prompt = layers.model.prompting.prompts.get(name or "")
    if inputs.apply_default_prompt:
        reason = "the model has no default prompt" if name is None else f"its default prompt {name!r} does not exist"
        return [] if prompt is not None else [f"apply_default_prompt=True has no effect: {reason}"]
    if not prompt:
        return []
    note = (
        f"the default prompt {name!r} ({prompt!r}) is not applied: apply_default_prompt=True applies it to all calls, "
        f"prompt_name={name!r} to a single call"
    )
    return [note]


def _scored_by_embeddings(layers: "ModelLayers", options: "LoadOptions") -> list[str]:
    """A note if a generative model will score texts by their embeddings and nothing indicates an embedding model.

    A list of modules in the folder, a conversion or pooling type chosen by the caller, or the name of a published
    embedding model indicates one.
    """
    names = layers.config.get("architectures") or ()
    causal = next((str(name) for name in names if str(name).endswith(CAUSAL_SUFFIX)), None)
    pooling, model = layers.find(SEQ_PATH), layers.model
    chosen = (
        options.convert != "auto"
        or model.pooler_config.task is not None
        or (pooling is not None and pooling.is_request)
    )
    settled = bool(model.modules.listed) or model.retrieval.late_interaction is not None
    if causal is None or chosen or settled or layers.published is not None or "embed" not in layers.tasks:
        return []
    family = causal.removesuffix(CAUSAL_SUFFIX)
    note = (
        f"config.json names {causal}, a language model without a scoring head: score and rerank compare the "
        "embeddings of the texts. If it is a reranker that answers with a token, pass its tokens with hf_overrides="
        f"{{'architectures': ['{family}ForSequenceClassification'], 'classifier_from_token': ['no', 'yes'], 'method': "
        "'from_2_way_softmax'} and its prompt with chat_template; convert='embed' silences this note"
    )
    return [note]


def _unused_image_options(layers: "ModelLayers", inputs: InputOptions) -> list[str]:
    """A note if the caller passed image options and the model has none."""
    spec = layers.architecture.spec
    if not inputs.mm_processor_kwargs or spec.extras.image_processor is not None:
        return []
    names = ", ".join(map(repr, inputs.mm_processor_kwargs))
    return [f"mm_processor_kwargs {names} has no effect: {spec.name} has no image options"]
