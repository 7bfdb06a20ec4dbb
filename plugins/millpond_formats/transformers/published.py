"""Facts that plugins provide about published models; the model's files and the caller take precedence."""

from collections.abc import Sequence
from fnmatch import filter as filter_names
from pathlib import Path
from typing import TYPE_CHECKING

from millpond.types.config import CheckpointConfig
from millpond_formats.transformers.chat_template import read_chat_template

if TYPE_CHECKING:
    from millpond.model.repository import Repository
    from millpond.plugin.registry import Registry
    from millpond.plugin.specs import PublishedModelSpec, RerankTemplate

MATRYOSHKA_KEYS = ("is_matryoshka", "matryoshka_dimensions")
WILDCARDS = frozenset("*?[")
ANSWER_TOKEN_KEYS = ("classifier_from_token", "classifier_from_token_ids")


def with_known(repository: "Repository", published: "PublishedModelSpec | None") -> CheckpointConfig:
    """Return config.json with the known facts about the model; its own values are kept, except for the architecture."""
    config = repository.config
    by_name = {} if published is None else published.config
    settings = {**by_name, **repository.layers.get("files.known", {})}
    if any(config.get(key) for key in ANSWER_TOKEN_KEYS):
        settings = {key: value for key, value in settings.items() if key in MATRYOSHKA_KEYS}
    added = {key: value for key, value in settings.items() if key == "architectures" or config.get(key) is None}
    if config.get("matryoshka_dimensions") or config.get("is_matryoshka") is not None:
        added = {key: value for key, value in added.items() if key not in MATRYOSHKA_KEYS}
    return config.overridden(added)


def without_conflicting_tokens(config: CheckpointConfig, overridden: CheckpointConfig) -> CheckpointConfig:
    """Return the overridden config without the answer tokens that contradict the caller's, given as text or as ids."""
    changed = [key for key in ANSWER_TOKEN_KEYS if overridden.get(key) != config.get(key)]
    if len(changed) != 1 or not overridden.get(changed[0]):
        return overridden
    return overridden.overridden({key: None for key in ANSWER_TOKEN_KEYS if key not in changed})


def published_model(repository: "Repository") -> "PublishedModelSpec | None":
    """Return the record of a published model; None if no plugin knows the model.

    The model is matched by its names; the longest matching pattern wins. A reranker in a renamed folder is matched by
    its chat template.
    """
    names = bare_names(repository.model, repository.path, repository.config)
    architectures = _architectures(repository.config)
    models = [
        (pattern, model)
        for model, pattern in _matching(repository.registry, names)
        if model.checkpoint_architecture in (None, *architectures)
    ]
    if models:
        return max(models, key=lambda pair: len(pair[0]))[1]
    return None if repository.layers.get("modules.listed") else _renamed_reranker(repository, architectures)


def rerank_template(repository: "Repository", config: CheckpointConfig) -> "RerankTemplate | None":
    """Return the template of a reranker, matched by config values, else by name; None for an unknown reranker.

    If several match, the one that states the most values, or the one with the longest pattern, is used.

    Args:
        repository: The model's files.
        config: config.json with the caller's overrides.
    """
    registry = repository.registry
    templates = [model.rerank_template for model, _ in _by_pattern(registry) if model.rerank_template is not None]
    recognized = [template for template in templates if _recognizes(template, config)]
    if recognized:
        return max(recognized, key=lambda template: len(template.recognized_by))
    models = _matching(registry, bare_names(repository.model, repository.path, config))
    named = [(pattern, model.rerank_template) for model, pattern in models if model.rerank_template is not None]
    return max(named, key=lambda pair: len(pair[0]))[1] if named else None


def _by_pattern(registry: "Registry") -> "list[tuple[PublishedModelSpec, str]]":
    """The records, each with its pattern of model names, in the order of the record names."""
    models = registry.published_models
    return models.view("patterns", lambda: [(entry.spec, _bare(entry.spec.name)) for entry in models.entries()])


def _matching(registry: "Registry", names: set[str]) -> "list[tuple[PublishedModelSpec, str]]":
    """The records whose pattern matches one of the names."""
    plain = registry.published_models.view(
        "plain patterns", lambda: {pattern for _, pattern in _by_pattern(registry) if not WILDCARDS & {*pattern}}
    )
    return [
        (model, pattern)
        for model, pattern in _by_pattern(registry)
        if pattern in names or (pattern not in plain and filter_names(names, pattern))
    ]


def _recognizes(template: "RerankTemplate", config: CheckpointConfig) -> bool:
    stated = template.recognized_by
    return bool(stated) and all(_plain(config.get(key)) == value for key, value in stated.items())


def _plain(value: object) -> object:
    return list(value) if isinstance(value, tuple) else value


def _renamed_reranker(repository: "Repository", architectures: Sequence[str]) -> "PublishedModelSpec | None":
    """The published reranker whose chat template is in the folder; None without a match."""
    rerankers = [
        model
        for model, _ in _by_pattern(repository.registry)
        if model.checkpoint_architecture in architectures and any(model.config.get(key) for key in ANSWER_TOKEN_KEYS)
    ]
    if not rerankers:
        return None
    template = read_chat_template(repository, of_pairs=True)
    text = "" if template is None else template.text
    return next((model for model in rerankers if any(marker in text for marker in model.markers)), None)


def bare_names(requested: str, folder: Path, config: CheckpointConfig) -> set[str]:
    """Return the names that a model may be known by, in lower case and without the organisation.

    Args:
        requested: The name that the caller used.
        folder: The folder of its files.
        config: config.json, which contains the name under which the model was saved.
    """
    return {_bare(name) for name in (requested, folder.name, str(config.get("_name_or_path", "")))}


def _bare(name: str) -> str:
    return name.rstrip("/").replace("\\", "/").rpartition("/")[2].lower()


def _architectures(config: CheckpointConfig) -> list[str]:
    names = config.get("architectures")
    return [name for name in names if isinstance(name, str)] if isinstance(names, list) else []
