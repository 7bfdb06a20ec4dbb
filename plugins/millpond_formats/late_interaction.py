"""What a folder says of queries and documents: as Stanford's ColBERT, PyLate or sentence-transformers write it."""

import string
from collections.abc import Callable, Iterable, Mapping
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from millpond.loading.files import read_object
from millpond.loading.header import read_headers
from millpond.types.config import CheckpointConfig
from millpond.types.errors import CheckpointError
from millpond.types.late_interaction import Expansion, LateInteraction, Side, TokenPooling

if TYPE_CHECKING:
    from millpond.loading.repository import Repository
    from millpond_formats.sentence_transformers.module import Module

PROJECTION = "linear.weight"
DIM_KEYS = ("colbert_dim", "dim", "projection_dim")  # of config.json
QUERY_LENGTH = 32  # of all of these, where the files do not say
PUNCTUATION = tuple(string.punctuation)
STRATEGIES = ("fixed", "min")
SETTINGS = "config_sentence_transformers.json"
ARTIFACT = "artifact.metadata"


def read_late_interaction(
    repository: "Repository",
    config: CheckpointConfig,
    reader: "Callable[[Repository, CheckpointConfig], LateInteraction] | None" = None,
) -> LateInteraction | None:
    """How queries and documents are read; None where no file says that there are any.

    Args:
        repository: The files of the model.
        config: config.json with the overrides.
        reader: The function that the architecture's record names for files of its own kind, such as ``read_stanford``.

    Raises:
        CheckpointError: If a file says what is not known.
    """
    kind = repository.sentence_transformers.model_type
    if kind in ("MultiVectorEncoder", "ColBERT"):
        both = _native(repository) if kind == "MultiVectorEncoder" else _pylate(repository.path / SETTINGS)
        return _bounded(both, repository.sentence_transformers.max_seq_length)
    return None if reader is None else reader(repository, config)


def read_stanford(repository: "Repository", config: CheckpointConfig) -> LateInteraction:
    """By artifact.metadata, as Stanford's ColBERT writes it, or has it where there is no such file.

    Raises:
        CheckpointError: If it says what is not known.
    """
    path = repository.path / ARTIFACT
    said, dim = read_object(path), _dim(config)
    return LateInteraction(
        query=Side(marker=_text(said, "query_token_id", path) or "[unused0]"),
        document=Side(
            marker=_text(said, "doc_token_id", path) or "[unused1]",
            length=_count(said, "doc_maxlen", path),
            skipped=PUNCTUATION if said.get("mask_punctuation", True) else (),
        ),
        expansion=Expansion(
            length=_count(said, "query_maxlen", path) or QUERY_LENGTH,
            attended=bool(said.get("attend_to_mask_tokens")),
        ),
        dim=_count(said, "dim", path) if dim is None else dim,
    )


def read_projected(repository: "Repository", config: CheckpointConfig) -> LateInteraction:
    """As ``read_stanford`` where there is its file, else without markers; as wide as the projection if nothing says.

    Raises:
        CheckpointError: If the file says what is not known.
    """
    stated = (repository.path / ARTIFACT).exists()
    said = read_stanford(repository, config) if stated else LateInteraction(dim=_dim(config))
    return said if said.dim is not None else replace(said, dim=_width(repository.transformer_path))


def _bounded(said: LateInteraction, most: int | None) -> LateInteraction:
    """A side of no length of its own has that of the model, though the other, or the expansion, is longer."""
    if most is None or most >= said.longest:
        return said
    query, document = (replace(side, length=side.length or most) for side in (said.query, said.document))
    return replace(said, query=query, document=document)


def _dim(config: CheckpointConfig) -> int | None:
    """The dimensions of a vector as config.json has them."""
    dim = next((config[key] for key in DIM_KEYS if config.get(key) is not None), None)
    return _count({"dim": dim}, "dim", Path("config.json"))


def _width(folder: Path) -> int | None:
    """The same by the shape of the projection in the checkpoint, if it is there."""
    return next((tensor.shape[0] for tensor in read_headers(folder) if tensor.name == PROJECTION), None)


def _pylate(path: Path) -> LateInteraction:
    said = read_object(path)
    prompts = said.get("prompts") or {}
    skipped = said.get("skiplist_words")
    sides = {
        role: Side(
            marker=_text(said, f"{role}_prefix", path),
            prompt=_text(prompts, role, path).removeprefix(_text(said, f"{role}_prefix", path)),
            length=_count(said, f"{role}_length", path),
            skipped=(PUNCTUATION if skipped is None else tuple(skipped)) if role == "document" else (),
        )
        for role in ("query", "document")
    }
    if "query_expansion" in said:
        expansion = _expansion(said["query_expansion"], path)
    elif said.get("do_query_expansion") is False:
        expansion = None
    else:
        attended = said.get("attend_to_expansion_tokens", said.get("attend_to_mask_tokens"))
        expansion = Expansion(length=sides["query"].length or QUERY_LENGTH, attended=bool(attended))
    return LateInteraction(query=sides["query"], document=sides["document"], expansion=expansion)


def _native(repository: "Repository") -> LateInteraction:
    files = repository.sentence_transformers
    folder = repository.transformer_path
    path = folder / (files.length_file or "sentence_bert_config.json")
    said = read_object(path)
    masks = [module for module in files.modules if module.type == "MultiVectorMask"]
    mask: Mapping[str, Any] = masks[0].config if masks else {}
    tasks = mask.get("skiplist_tasks") or ("document",)
    pooling = _pooling(files.modules)
    return LateInteraction(
        query=Side(
            prompt=files.prompts.get("query", ""),
            length=_count(said, "query_length", path),
            skipped=_words(mask.get("skiplist_words")) if "query" in tasks else (),
            pooling=pooling.get("query"),
        ),
        document=Side(
            prompt=files.prompts.get("document", ""),
            length=_count(said, "document_length", path),
            skipped=_words(mask.get("skiplist_words")) if "document" in tasks else (),
            only=_only(masks[0]) if masks else (),
            pooling=pooling.get("document"),
        ),
        expansion=_expansion(said.get("query_expansion"), path),
    )


def _pooling(modules: "Iterable[Module]") -> Mapping[str, TokenPooling]:
    """How the vectors of queries, or of documents, become fewer, by the module that does it."""
    module = next((module for module in modules if module.type == "HierarchicalTokenPooling"), None)
    if module is None:
        return {}
    said, path = module.config, module.path / "config.json"
    factor, protected = said.get("pool_factor", 1.0), said.get("num_protected_tokens", 1)
    right = all(isinstance(value, int | float) and not isinstance(value, bool) for value in (factor, protected))
    if not right or factor < 1 or protected < 0:
        message = f"{path}: pool_factor must be a number from 1 on, num_protected_tokens one from 0 on; got {said}"
        raise CheckpointError(message)
    normalizes = bool(said.get("normalize_embeddings", False))
    pooling = TokenPooling(factor=float(factor), protected=int(protected), normalizes=normalizes)
    return dict.fromkeys(_words(said.get("tasks", ["document"])), pooling)


def _expansion(said: object, path: Path) -> Expansion | None:
    if said is None:
        return None
    length = said.get("length") if isinstance(said, Mapping) else None
    if (
        not isinstance(said, Mapping)
        or said.get("strategy") not in STRATEGIES
        or isinstance(length, bool)
        or not isinstance(length, int)
        or length < 1
    ):
        message = (
            f"{path}: query_expansion must be an object with a positive length and the strategy "
            f"{' or '.join(map(repr, STRATEGIES))}; got {said!r}"
        )
        raise CheckpointError(message)
    token = said.get("token")
    return Expansion(
        length=length,
        cuts=said["strategy"] == "fixed",
        attended=bool(said.get("attend", False)),
        token=token if isinstance(token, str) else None,
    )


def _only(mask: "Module") -> tuple[int, ...]:
    """The ids of the tokens that documents are reduced to; empty for all of them."""
    ids = mask.config.get("keep_only_token_ids") or []
    if not isinstance(ids, list) or not all(isinstance(token, int) and not isinstance(token, bool) for token in ids):
        message = f"{mask.path / 'config.json'}: keep_only_token_ids must be a list of token ids; got {ids!r}"
        raise CheckpointError(message)
    return tuple(ids)


def _words(said: Iterable[object] | None) -> tuple[str, ...]:
    return tuple(word for word in said or () if isinstance(word, str))


def _text(said: Mapping[str, Any], key: str, path: Path) -> str:
    value = said.get(key)
    if value is None or isinstance(value, str):
        return value or ""
    message = f"{path}: {key} must be text; got {value!r}"
    raise CheckpointError(message)


def _count(said: Mapping[str, Any], key: str, path: Path) -> int | None:
    value = said.get(key)
    if value is None or (isinstance(value, int) and not isinstance(value, bool) and value > 0):
        return value
    message = f"{path}: {key} must be a positive number of tokens; got {value!r}"
    raise CheckpointError(message)
