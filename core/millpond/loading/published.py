"""Facts that plugins know about published models; the files of the model and the caller take precedence."""

import re
from collections.abc import Sequence
from fnmatch import filter as filter_names
from pathlib import Path
from typing import TYPE_CHECKING

from millpond.loading.chat_template import read_chat_template
from millpond.types.config import CheckpointConfig

if TYPE_CHECKING:
    from millpond.loading.repository import Repository
    from millpond.plugin.registry import Registry
    from millpond.plugin.specs import PublishedModelSpec, RerankTemplate

MATRYOSHKA = ("is_matryoshka", "matryoshka_dimensions")
MOST_BYTES = 1_000_000  # of a card that is read
RANKS = re.compile(r"^(?:pipeline_tag:|\s*-)\s*['\"]?(?:text-ranking|reranker)['\"]?\s*$", re.MULTILINE)
TITLE = re.compile(r"^#\s+(?:<[^>]*>\s*)*(?P<title>[^#\n]+?)\s*$", re.MULTILINE)
FENCE = "---"
WILDCARDS = frozenset("*?[")
SETTLES = ("classifier_from_token", "classifier_from_token_ids")


def with_known(registry: "Registry", repository: "Repository") -> CheckpointConfig:
    """config.json with what else is known of the model; what it says itself stays, but for its architecture's head."""
    config = repository.config
    published = published_model(registry, repository)
    by_name = {} if published is None else published.config
    settings = {**by_name, **repository.facts.known}
    if any(config.get(key) for key in SETTLES):
        settings = {key: value for key, value in settings.items() if key in MATRYOSHKA}
    added = {key: value for key, value in settings.items() if key == "architectures" or config.get(key) is None}
    if config.get("matryoshka_dimensions") or config.get("is_matryoshka") is not None:
        added = {key: value for key, value in added.items() if key not in MATRYOSHKA}
    return config.overridden(added)


def without_rivals(config: CheckpointConfig, overridden: CheckpointConfig) -> CheckpointConfig:
    """The overridden config, where the tokens that a caller names as text or by id go before those named otherwise."""
    named = [key for key in SETTLES if overridden.get(key) != config.get(key)]
    if len(named) != 1 or not overridden.get(named[0]):
        return overridden
    return overridden.overridden({key: None for key in SETTLES if key not in named})


def published_model(registry: "Registry", repository: "Repository") -> "PublishedModelSpec | None":
    """Return the record of a model, by any of its names; of a reranker in a renamed folder, by its template or card.

    None if no plugin knows the model. Of several patterns that match, the longest counts.
    """
    names = bare_names(repository.model, repository.path, repository.config)
    architectures = _architectures(repository.config)
    models = [
        (pattern, model)
        for model, pattern in _matching(registry, names)
        if model.checkpoint_architecture in (None, *architectures)
    ]
    if models:
        return max(models, key=lambda pair: len(pair[0]))[1]
    return None if repository.facts.modules.listed else _renamed_reranker(registry, repository, architectures)


def rerank_template(
    registry: "Registry", repository: "Repository", config: CheckpointConfig
) -> "RerankTemplate | None":
    """Return the text that a reranker reads, by the values of its config, else by its name; None if it is unknown.

    Args:
        registry: All records.
        repository: The model's files.
        config: config.json with the caller's overrides.
    """
    for model, _ in _by_pattern(registry):
        template = model.rerank_template
        if template is None or not template.recognized_by:
            continue
        if all(_plain(config.get(key)) == value for key, value in template.recognized_by.items()):
            return template
    models = _matching(registry, bare_names(repository.model, repository.path, config))
    named = [(pattern, model.rerank_template) for model, pattern in models if model.rerank_template is not None]
    return max(named, key=lambda pair: len(pair[0]))[1] if named else None


def _by_pattern(registry: "Registry") -> "list[tuple[PublishedModelSpec, str]]":
    """Return the records, each with the pattern of its models' names, in the order of the records' names."""
    models = registry.published_models
    return models.view("patterns", lambda: [(entry.spec, _bare(entry.spec.name)) for entry in models.entries()])


def _matching(registry: "Registry", names: set[str]) -> "list[tuple[PublishedModelSpec, str]]":
    """Return the records whose pattern matches one of some names."""
    plain = registry.published_models.view(
        "plain patterns", lambda: {pattern for _, pattern in _by_pattern(registry) if not WILDCARDS & {*pattern}}
    )
    return [
        (model, pattern)
        for model, pattern in _by_pattern(registry)
        if pattern in names or (pattern not in plain and filter_names(names, pattern))
    ]


def _plain(value: object) -> object:
    return list(value) if isinstance(value, tuple) else value


def _renamed_reranker(
    registry: "Registry", repository: "Repository", architectures: Sequence[str]
) -> "PublishedModelSpec | None":
    """Return the published reranker whose chat template or model card a folder has; None if it has neither."""
    rerankers = [
        (model, pattern)
        for model, pattern in _by_pattern(registry)
        if model.checkpoint_architecture in architectures and any(model.config.get(key) for key in SETTLES)
    ]
    if not rerankers:
        return None
    template = read_chat_template(repository)
    text, titles = "" if template is None else template.text, _titles_of_ranker(repository.transformer_path)
    for model, pattern in rerankers:
        if any(marker in text for marker in model.markers) or filter_names(titles, pattern):
            return model
    return None


def bare_names(asked: str, folder: Path, config: CheckpointConfig) -> set[str]:
    """What a model may be known by, without organisations and in lower case.

    Args:
        asked: The name that the caller used.
        folder: The folder of its files.
        config: config.json, in which the name stands that it had when it was saved.
    """
    return {_bare(name) for name in (asked, folder.name, str(config.get("_name_or_path", "")))}


def _bare(name: str) -> str:
    return name.rstrip("/").replace("\\", "/").rpartition("/")[2].lower()


def _architectures(config: CheckpointConfig) -> list[str]:
    names = config.get("architectures")
    return [name for name in names if isinstance(name, str)] if isinstance(names, list) else []


def _titles_of_ranker(folder: Path) -> set[str]:
    """The titles of the card of a model that ranks texts, in lower case, without organisations; empty for any other.

    Args:
        folder: The folder of the model.
    """
    path = folder / "README.md"
    if not path.is_file() or path.stat().st_size > MOST_BYTES:
        return set()
    text = path.read_text(encoding="utf-8", errors="replace")
    _, _, rest = text.partition(FENCE) if text.startswith(FENCE) else ("", "", "")
    header, fence, body = rest.partition(f"\n{FENCE}")
    if not fence or not RANKS.search(header):
        return set()
    return {match["title"].rpartition("/")[2].strip().lower() for match in TITLE.finditer(body)}
