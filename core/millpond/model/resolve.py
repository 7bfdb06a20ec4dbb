"""Reads the layers of a model: what the caller, its files and the records of plugins state. Does not import torch."""

from collections.abc import Iterator
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from millpond.model.config_source import ConfigSource, read_config
from millpond.model.embedding_size import sparse_kind
from millpond.model.layers import DEFAULT, USER, Layer, Layers, paths
from millpond.model.lengths import choose_length, stated_lengths
from millpond.model.model_layers import SPARSE_SIMILARITY, ModelLayers
from millpond.model.options import REWARD, LoadOptions, check_runner
from millpond.model.pooler_settings import (
    GROUP,
    LATE_INTERACTION_TASK,
    SEQ_PATH,
    architecture_layer,
    check_pooler,
    is_late,
    layers_over_files,
    spread_pooling_type,
    user_settings,
)
from millpond.types.compute import check_dtype
from millpond.types.config import PoolerConfig
from millpond.types.errors import CheckpointError, InvalidInputError, UnknownNameError
from millpond.types.late_interaction import LateInteraction

if TYPE_CHECKING:
    from millpond.model.repository import Repository
    from millpond.plugin.registry import Registry

DTYPE_ALIASES = {"half": "float16", "float": "float32"}
DEFAULT_DTYPE = "float32"
PROMPTS_PATH = "prompting.prompts"
LATE_PATH = "retrieval.late_interaction"
PLUGIN_PATH = "prompting.io_processor_plugin"
STEPS_PATH = "text.steps"
CONFIG_PATH, IDENTITY_PATH = "hf_config", "identity.architecture"


def read_layers(registry: "Registry", repository: "Repository", options: LoadOptions) -> ModelLayers:
    """Read everything that is stated about the model of a repository.

    Raises:
        CheckpointError: If its files contradict each other.
        UnknownNameError: If its architecture is not supported.
        InvalidInputError: If an option does not fit the model.
    """
    check_runner(options.runner)
    if repository.plugins is not registry:
        repository = replace(repository, plugins=registry)
    _check_options(repository.layers, options)
    if options.hf_overrides is not None and repository.requests:
        repository = _under_overrides(registry, repository, options)
    return _read(registry, repository, options)


def read_route(main: ModelLayers, name: str, options: LoadOptions) -> ModelLayers:
    """Read what is stated about another route of a model, which has the dtype of the main route."""
    layers = read_layers(main.registry, replace(main.repository, route=name), options)
    return layers.over(Layer(main.origin("dtype"), {"dtype": main.model.dtype}))


def _read(registry: "Registry", repository: "Repository", options: LoadOptions) -> ModelLayers:
    files = repository.layers
    user = spread_pooling_type(registry, options.pooler_config)
    chosen = repository.reader.choose(options, user.tok_pooling_type or user.seq_pooling_type or files.get(SEQ_PATH))
    late = LATE_INTERACTION_TASK in chosen.tasks and is_late(files, user, options.convert)
    tasks = _stated_tasks(files, chosen) or ((LATE_INTERACTION_TASK,) if late else chosen.tasks)
    late = late and tasks == (LATE_INTERACTION_TASK,)
    of_config = tuple(read_config(registry, chosen))
    of_user = _of_user(options, user, chosen)
    requests = (of_user, *repository.requests, *(layer for layer in of_config if layer.is_request))
    layers = ModelLayers(
        repository=repository,
        config=chosen.config,
        architecture=chosen.architecture,
        converter=chosen.converter,
        implementation=chosen.implementation,
        tasks=tasks,
        published=chosen.published,
        layers=(
            *requests,
            _of_architecture(registry, chosen),
            *of_config,
            *layers_over_files(files, chosen.tasks, late=late),
            *files,
            architecture_layer(chosen),
        ),
    )
    layers = replace(layers, layers=(*_of_rules(layers), *layers, *_under_files(chosen)))
    _check(layers)
    return layers if sparse_kind(layers) is None else replace(layers, layers=(*layers, SPARSE_SIMILARITY))


def _check_options(files: Layers, options: LoadOptions) -> None:
    """Refuse options that choose an architecture, from which other settings of a model file follow.

    Raises:
        InvalidInputError: Names the option.
    """
    layer = files.find(IDENTITY_PATH)
    for name in ("convert", "model_impl") if layer is not None else ():
        if getattr(options, name) != "auto":
            raise InvalidInputError(_refusal(name, files.origin(IDENTITY_PATH)), parameter=name)


def _refusal(option: str, origin: str) -> str:
    return (
        f"{option} cannot be combined with {origin}, whose other settings follow from the architecture: write the file "
        "again with `millpond inspect --resolved` and this option, or edit it"
    )


def _under_overrides(registry: "Registry", repository: "Repository", options: LoadOptions) -> "Repository":
    """Return a repository whose model file gives way to all that the caller's overrides of config.json change.

    Raises:
        InvalidInputError: If they change the architecture.
    """
    config = repository.layers.get(CONFIG_PATH)
    stated = Layer(USER, {CONFIG_PATH: config}, is_request=True, route=repository.route)
    bare = replace(repository, stated=() if config is None else (stated,))
    before, after = (_read(registry, bare, it) for it in (replace(options, hf_overrides=None), options))
    if (before.architecture.spec, before.converter) != (after.architecture.spec, after.converter):
        raise InvalidInputError(_refusal("hf_overrides", repository.requests[0].name), parameter="hf_overrides")
    stated_paths = (path for path in paths() if not path.startswith("files."))
    changed = {path: after.get(path) for path in stated_paths if after.get(path) != before.get(path)}
    over = Layer(USER, changed, is_request=True, route=repository.route)
    return replace(repository, stated=(over, *repository.stated))


def _stated_tasks(files: Layers, chosen: ConfigSource) -> tuple[str, ...] | None:
    """Return the tasks that a layer states; None if no layer does.

    Raises:
        CheckpointError: If the architecture does not support one of them.
    """
    tasks: tuple[str, ...] | None = files.get("tasks")
    unknown = [task for task in tasks or () if task not in chosen.tasks]
    if unknown or tasks == ():
        available = ", ".join(chosen.tasks)
        message = f"{files.origin('tasks')} states the tasks {tasks}. {chosen.architecture.spec.name} has: {available}"
        raise CheckpointError(message)
    return tasks


def _of_user(options: LoadOptions, user: PoolerConfig, chosen: ConfigSource) -> Layer:
    """The layer of the caller's requests."""
    dtype = check_dtype(options.dtype)
    values = {
        **user_settings(user, chosen.tasks, rewards=options.convert == REWARD),
        "dtype": None if dtype == "auto" else DTYPE_ALIASES.get(dtype, dtype),
        "max_model_len": options.max_model_len,
        PLUGIN_PATH: options.io_processor_plugin,
        STEPS_PATH: options.text_steps,
    }
    return Layer(USER, values, is_request=True)


def _of_architecture(registry: "Registry", chosen: ConfigSource) -> Layer:
    """The layer of values of the architecture's record that take precedence over the files.

    Raises:
        UnknownNameError: If no plugin provides the activation that it names.
    """
    spec = chosen.architecture.spec
    activation = spec.output.activation if chosen.converter is None else None
    if activation is not None:
        registry.activations.get(activation)
    return Layer(
        "architecture",
        {
            "classification.num_labels": spec.output.num_labels,
            "classification.activation": activation,
            "multimodal.modalities": spec.modalities,
            "multimodal.image_reader": spec.extras.image_processor,
        },
    )


def _of_rules(layers: ModelLayers) -> Iterator[Layer]:
    """Yield the layers of rules that combine several values."""
    late_interaction = _late_interaction(layers)
    length = choose_length(
        stated_lengths(layers),
        positions=layers.architecture.spec.text.positions,
        requested=layers.get("max_model_len"),
        query_document_length=0 if late_interaction is None else late_interaction.longest,
    )
    if layers.find("max_model_len") is None:
        yield Layer(str(length), {"max_model_len": length.value})
    stated = layers.find(LATE_PATH)
    if stated is None or not stated.is_request:
        yield Layer("the files and the architecture", {LATE_PATH: late_interaction})


def _under_files(chosen: ConfigSource) -> Iterator[Layer]:
    """Yield the layers of what records state about published models, and of defaults."""
    published = chosen.published
    values = (
        {}
        if published is None
        else {PROMPTS_PATH: published.prompts, "prompting.chat_template": published.chat_template}
    )
    yield Layer("published model", {**values, "prompting.rerank_template": chosen.rerank_template})
    yield Layer("architecture", {STEPS_PATH: chosen.architecture.spec.text.steps or None})
    yield Layer(DEFAULT, {"dtype": DEFAULT_DTYPE})


def _check(layers: ModelLayers) -> None:
    """Refuse pooler settings, an IO processor and text steps that the model cannot have."""
    plugin = layers.get(PLUGIN_PATH)
    if plugin is not None:
        _check_plugin(layers.registry, plugin)
    steps = layers.get(STEPS_PATH)
    if steps:
        record: Any = layers.registry.catalog("text_step").record
        record.require(layers.registry, steps)
    pooler = {name: layers.get(f"{GROUP}.{name}") for name in PoolerConfig.model_fields}
    check_pooler(layers.registry, pooler, layers.tasks if plugin is None else (*layers.tasks, "plugin"))


def _late_interaction(layers: ModelLayers) -> LateInteraction | None:
    """The settings of queries and documents; None if nothing specifies any.

    The architecture's record may name a function that completes the settings in the files. It is not used if the files
    themselves state that the model is a late interaction model.

    Raises:
        CheckpointError: If a file specifies something that is not supported.
    """
    stated: LateInteraction | None = layers.get(LATE_PATH)
    is_complete = layers.get("files.task") == LATE_INTERACTION_TASK
    if layers.architecture.spec.extras.late_interaction is None or is_complete:
        return stated
    completed: LateInteraction | None = layers.architecture.load("extras.late_interaction")(layers)
    return completed


def _check_plugin(registry: "Registry", name: object) -> None:
    """Refuse an IO processor of the task "plugin" that is not installed.

    Raises:
        UnknownNameError: If it is not installed.
    """
    available = [e.spec.name for e in registry.io_processors.entries() if "plugin" in e.spec.tasks]
    if not available:
        raise UnknownNameError(f"No IOProcessor plugins installed but one is required ({name}).")
    entry = registry.io_processors.find(name) if isinstance(name, str) else None
    if entry is None or "plugin" not in entry.spec.tasks:
        message = (
            f"The model requires the {name!r} IO Processor plugin but it is not installed. "
            f"Available plugins: {available}"
        )
        raise UnknownNameError(message)
