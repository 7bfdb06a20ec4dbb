"""Notes on a model that is loaded: where it does something else than its files, or the caller, may lead to expect."""

from typing import TYPE_CHECKING

from millpond.loading.chat_template import read_chat_template
from millpond.types.checkpoint import value_of
from millpond.types.config import InputOptions

if TYPE_CHECKING:
    from millpond.loading.resolution import Resolution
    from millpond.loading.resolve import LoadOptions

CAUSAL = "ForCausalLM"


def notes_on(resolution: "Resolution", options: "LoadOptions") -> list[str]:
    """The notes on a model, in the order in which they are logged.

    Args:
        resolution: What the model is loaded as.
        options: What the caller chose.
    """
    return [
        *_unwritten(resolution),
        *_unapplied_prompt(resolution, options.inputs),
        *_scored_by_embeddings(resolution, options),
    ]


def _unwritten(resolution: "Resolution") -> list[str]:
    """A note if texts are to be written as messages and there is no template to do so."""
    repository, written = resolution.repository, resolution.facts.text.message_format
    published = resolution.published
    if written is None or "embed" not in resolution.tasks:
        return []
    if (published is not None and published.chat_template is not None) or read_chat_template(repository) is not None:
        return []
    note = (
        f"{written.origin} has each text written as a message, and the folder has no chat "
        "template (chat_template.jinja): texts are read as they are"
    )
    return [note]


def _unapplied_prompt(resolution: "Resolution", inputs: InputOptions) -> list[str]:
    """A note if the default prompt is not put before texts, or is asked for and there is none."""
    name = value_of(resolution.facts.prompts.default)
    prompt = resolution.prompts.get(name or "")
    if inputs.apply_default_prompt:
        said = "names none" if name is None else f"names {name!r}, and has no prompt of that name"
        return [] if prompt is not None else [f"apply_default_prompt=True changes nothing: as its default it {said}"]
    if not prompt:
        return []
    note = (
        f"its default prompt {name!r} ({prompt!r}) is not put before texts: apply_default_prompt=True does that for "
        f"all calls, prompt_name={name!r} for one"
    )
    return [note]


def _scored_by_embeddings(resolution: "Resolution", options: "LoadOptions") -> list[str]:
    """A note if nothing but the architecture of a generator states that a model's embeddings are what is wanted.

    Folders that list modules state it, and so do callers who choose a conversion or a pooling type. A published
    embedding model is known by its name.
    """
    names = resolution.config.get("architectures") or ()
    causal = next((str(name) for name in names if str(name).endswith(CAUSAL)), None)
    pooling = resolution.pooler.get("seq_pooling_type")
    chosen = options.convert != "auto" or "task" in resolution.pooler or (pooling and pooling.origin == "user")
    settled = bool(resolution.facts.modules.listed) or resolution.late_interaction is not None
    if causal is None or chosen or settled or resolution.published is not None or "embed" not in resolution.tasks:
        return []
    family = causal.removesuffix(CAUSAL)
    note = (
        f"config.json names {causal}, a language model without a head that scores: score and rerank compare the "
        "embeddings of the texts. If it is a reranker that answers by a token, pass its tokens by hf_overrides="
        f"{{'architectures': ['{family}ForSequenceClassification'], 'classifier_from_token': ['no', 'yes'], 'method': "
        "'from_2_way_softmax'} and its prompt by chat_template; convert='embed' confirms embeddings, without this note"
    )
    return [note]
