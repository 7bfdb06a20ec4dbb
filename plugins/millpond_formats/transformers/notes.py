"""Notes on a model that its files suggest: a missing chat template, a language model that scores by embeddings."""

from typing import TYPE_CHECKING

from millpond.model.pooler_settings import SEQ_PATH

if TYPE_CHECKING:
    from millpond.model.layers import Layers
    from millpond.model.options import LoadOptions
    from millpond.model.spec import ResolvedModel
    from millpond_formats.transformers.reader import TransformersReader

CAUSAL_SUFFIX = "ForCausalLM"


def notes_on_files(
    reader: "TransformersReader", model: "ResolvedModel", layers: "Layers", options: "LoadOptions"
) -> list[str]:
    """Return the notes, in the order in which they are logged; see ``ModelReader.notes``."""
    return [*_missing_template(reader, model, layers), *_scored_by_embeddings(reader, model, layers, options)]


def _missing_template(reader: "TransformersReader", model: "ResolvedModel", layers: "Layers") -> list[str]:
    """A note if texts should be formatted as messages but the model has no chat template."""
    path = "text.message_format"
    if model.text.message_format is None or "embed" not in model.tasks:
        return []
    if model.prompting.chat_template is not None or reader.chat_template() is not None:
        return []
    note = (
        f"{layers.origin(path)} specifies that texts are formatted as messages, but the folder has no chat "
        "template (chat_template.jinja): texts are used as they are"
    )
    return [note]


def _scored_by_embeddings(
    reader: "TransformersReader", model: "ResolvedModel", layers: "Layers", options: "LoadOptions"
) -> list[str]:
    """A note if a generative model will score texts by their embeddings and nothing indicates an embedding model.

    A list of modules in the folder, a conversion or pooling type chosen by the caller, or the name of a published
    embedding model indicates one.
    """
    names = model.hf_config.get("architectures") or ()
    causal = next((str(name) for name in names if str(name).endswith(CAUSAL_SUFFIX)), None)
    pooling = layers.find(SEQ_PATH)
    chosen = (
        options.convert != "auto"
        or model.pooler_config.task is not None
        or (pooling is not None and pooling.is_request)
    )
    settled = bool(model.modules.listed) or model.retrieval.late_interaction is not None
    if causal is None or chosen or settled or reader.published is not None or "embed" not in model.tasks:
        return []
    family = causal.removesuffix(CAUSAL_SUFFIX)
    note = (
        f"config.json names {causal}, a language model without a scoring head: score and rerank compare the "
        "embeddings of the texts. If it is a reranker that answers with a token, pass its tokens with hf_overrides="
        f"{{'architectures': ['{family}ForSequenceClassification'], 'classifier_from_token': ['no', 'yes'], 'method': "
        "'from_2_way_softmax'} and its prompt with chat_template; convert='embed' silences this note"
    )
    return [note]
