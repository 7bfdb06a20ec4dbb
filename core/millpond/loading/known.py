"""What is known of published models that their files do not say, by name: it goes behind what files and callers say."""

from collections.abc import Mapping
from dataclasses import dataclass
from fnmatch import fnmatchcase
from typing import TYPE_CHECKING, Any

from millpond.config import CheckpointConfig

if TYPE_CHECKING:
    from millpond.loading.repository import Repository

QWEN3_RERANKER = {
    "architectures": ["Qwen3ForSequenceClassification"],
    "classifier_from_token": ["no", "yes"],
    "is_original_qwen3_reranker": True,
}
MXBAI_RERANK_V2 = {
    "architectures": ["Qwen2ForSequenceClassification"],
    "classifier_from_token": ["0", "1"],
    "method": "from_2_way_softmax",
}
ANY_SIZE: Mapping[str, Any] = {"is_matryoshka": True}


@dataclass(frozen=True, kw_only=True)
class Family:
    """Published models of one kind.

    Attributes:
        pattern: A shell pattern of their names in lower case, without the organisation.
        settings: Keys of config.json that theirs lacks.
        architecture: What their config.json names; settings are for that alone. None for any.
    """

    pattern: str
    settings: Mapping[str, Any]
    architecture: str | None = None


FAMILIES = (
    Family(pattern="qwen3-reranker*", settings=QWEN3_RERANKER, architecture="Qwen3ForCausalLM"),
    Family(pattern="mxbai-rerank-*-v2*", settings=MXBAI_RERANK_V2, architecture="Qwen2ForCausalLM"),
    # Trained for embeddings that may be cut: any size, or those that their authors list.
    Family(pattern="qwen3-embedding*", settings=ANY_SIZE),
    Family(pattern="qwen3-vl-embedding*", settings=ANY_SIZE),
    Family(pattern="embeddinggemma*", settings={"matryoshka_dimensions": [768, 512, 256, 128]}),
    Family(pattern="nomic-embed-text-v1.5*", settings=ANY_SIZE),
    Family(pattern="nomic-embed-text-v2-moe*", settings={"matryoshka_dimensions": [768, 256]}),
    Family(pattern="snowflake-arctic-embed-m-v1.5*", settings={"matryoshka_dimensions": [768, 256]}),
    Family(pattern="snowflake-arctic-embed-m-v2*", settings={"matryoshka_dimensions": [768, 256]}),
    Family(pattern="snowflake-arctic-embed-l-v2*", settings={"matryoshka_dimensions": [1024, 256]}),
    Family(pattern="jina-embeddings-v3*", settings={"matryoshka_dimensions": [32, 64, 128, 256, 512, 768, 1024]}),
    Family(pattern="jina-embeddings-v5-text*", settings=ANY_SIZE),
    Family(pattern="mxbai-embed-large*", settings=ANY_SIZE),
    Family(pattern="gte-multilingual-base*", settings=ANY_SIZE),
)
SETTLES = ("classifier_from_token", "classifier_from_token_ids")


def with_known(repository: "Repository", config: CheckpointConfig) -> CheckpointConfig:
    """config.json with what else is known of the model; what it says itself stays, but for its architecture's head."""
    settings = {**_by_name(repository, config), **_logit_score(repository, config)}
    if any(config.get(key) for key in SETTLES):
        settings = {key: value for key, value in settings.items() if key in ANY_SIZE}
    added = {key: value for key, value in settings.items() if key == "architectures" or config.get(key) is None}
    if config.get("matryoshka_dimensions") or config.get("is_matryoshka") is not None:
        added = {key: value for key, value in added.items() if "matryoshka" not in key}
    return config.overridden(added)


def _by_name(repository: "Repository", config: CheckpointConfig) -> Mapping[str, Any]:
    """By the name that the caller used, that of the folder, or the one that was written when it was saved."""
    stated = (repository.model, repository.path.name, str(config.get("_name_or_path", "")))
    names = {name.rstrip("/").replace("\\", "/").rpartition("/")[2].lower() for name in stated}
    architectures = _architectures(config)
    for family in FAMILIES:
        if family.architecture is not None and family.architecture not in architectures:
            continue
        if any(fnmatchcase(name, family.pattern) for name in names):
            return family.settings
    return {}


def _logit_score(repository: "Repository", config: CheckpointConfig) -> Mapping[str, Any]:
    """A causal language model whose score, sentence-transformers says, is the logit of a token or of two."""
    module = next((m for m in repository.sentence_transformers.modules if m.type == "LogitScore"), None)
    if module is None:
        return {}
    false, true = module.config.get("false_token_id"), module.config.get("true_token_id")
    return {
        "architectures": [name.replace("ForCausalLM", "ForSequenceClassification") for name in _architectures(config)],
        "classifier_from_token_ids": [true] if false is None else [false, true],
        "method": "no_post_processing" if false is None else "from_2_way_softmax",
    }


def _architectures(config: CheckpointConfig) -> list[str]:
    names = config.get("architectures")
    return [name for name in names if isinstance(name, str)] if isinstance(names, list) else []
