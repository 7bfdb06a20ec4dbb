"""A note for causal language models without a head that scores: score and rerank compare their embeddings."""

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from millpond.loading.resolve import LoadOptions, Resolution

CAUSAL = "ForCausalLM"


def scored_by_embeddings(resolution: "Resolution", options: "LoadOptions") -> list[str]:
    """A note if nothing but the architecture of a generator states that a model's embeddings are what is wanted.

    Folders that list modules state it, and so do callers who choose a conversion or a pooling type. A published
    embedding model is known by its name.

    Args:
        resolution: What the model is loaded as.
        options: What the caller chose.
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
