"""Builds a model from a resolved repository: on the meta device first, then with its weights."""

import logging
from dataclasses import dataclass
from itertools import chain
from typing import Any

import torch

from millpond.context import Context
from millpond.loading.arguments import Arguments
from millpond.loading.components import replaced_by_installed
from millpond.loading.modules import add_before_pooling, load_after_pooling
from millpond.loading.notes import notes_on
from millpond.loading.precision import disable_tf32, in_mixed_precision, runnable_dtype
from millpond.loading.weights import iterate_extra_weights, iterate_weights
from millpond.machine import trim_heap
from millpond.model.layers import Layer
from millpond.model.model_layers import ModelLayers
from millpond.model.repository import Repository
from millpond.model.resolve import read_layers
from millpond.model.source import find_repository
from millpond.nn.linear import Linear
from millpond.nn.model import PoolingModel
from millpond.nn.weights import LoadedWeights, missing_weights
from millpond.plugin.blame import blamed_plugin, breach, described, is_foreign, mark, owner_of
from millpond.plugin.kernels import check_quantization, check_variants
from millpond.plugin.manager import PluginManager, get_plugin_manager
from millpond.plugin.registry import Entry, Registry
from millpond.plugin.target import imported
from millpond.types.config import EngineConfig
from millpond.types.errors import CheckpointError, InvalidInputError, MillpondError, first_names

logger = logging.getLogger(__name__)
MAX_LISTED_TENSORS = 8  # in an error message
TRIM_BYTES = 2**23  # of converted weights, after which freed memory is returned to the system


@dataclass(frozen=True, kw_only=True)
class LoadedModel:
    """A model that is ready to run, with its configuration; ``engine`` holds the limits of a batch."""

    model: PoolingModel
    context: Context
    layers: ModelLayers
    engine: EngineConfig


def load_model(model: str | Repository, arguments: Arguments, plugins: PluginManager | None = None) -> LoadedModel:
    """Find a model's files, resolve its configuration, and build it.

    If several engine processes compute, they load the weights: the model stays on the meta device.

    Args:
        model: The model's name, or its repository if that is known already.
        arguments: The arguments of ``LLM``.
        plugins: The plugins to use; by default all installed plugins.
    """
    name = model if isinstance(model, str) else model.model
    if arguments.tokenizer not in (None, name):
        message = (
            f"tokenizer={arguments.tokenizer!r}: a tokenizer of another model is not supported. Put its tokenizer.json "
            "in the model's folder"
        )
        raise InvalidInputError(message, parameter="tokenizer")
    registry = (plugins or get_plugin_manager()).registry
    layers, device = resolve_model(registry, model, arguments)
    if arguments.engine.cuda_graphs and device.type != "cuda":
        message = f"cuda_graphs=True needs a CUDA device; the model is on {device}. Leave it out, or pass device='cuda'"
        raise InvalidInputError(message, parameter="cuda_graphs")
    for note in notes_on(layers, arguments.load):
        logger.warning("%s: %s", name, note)
    built = build_model(layers, arguments, device, with_weights=arguments.parallel.size == 1)
    if replaced := replaced_by_installed(layers, built.context.requested.activations):
        logger.warning("%s: %s. `plugin/NAME` selects one of them explicitly", name, "; ".join(replaced))
    return built


def resolve_model(
    registry: Registry, model: str | Repository, arguments: Arguments
) -> tuple[ModelLayers, torch.device]:
    """Find a model's files, and return what is stated about it, and its device."""
    device = choose_device(arguments.device)
    repository = find_repository(registry, model, arguments.source) if isinstance(model, str) else model
    layers = read_layers(registry, repository, arguments.load)
    repository.record_files()  # not earlier: a folder without a model may be large
    return with_runnable_dtype(layers, device), device


def with_runnable_dtype(layers: ModelLayers, device: torch.device) -> ModelLayers:
    """Return layers whose dtype a device supports, unless the caller requests a dtype."""
    stated = layers.get("dtype")
    origin = layers.find("dtype")
    dtype = stated if origin is None or origin.is_request else runnable_dtype(stated, device)
    if dtype == stated:
        return layers
    name = "CPU" if device.type == "cpu" else "GPU"
    reason = f"{layers.origin('dtype')}: {stated}, which this {name} does not support"
    return layers.over(Layer(reason, {"dtype": dtype}))


def choose_device(name: str) -> torch.device:
    """Return the device of that name; "auto" is a GPU if one is available.

    Raises:
        InvalidInputError: If the device is unknown or not available.
    """
    if name == "auto":
        return torch.device("cuda" if torch.cuda.is_available() else "cpu")
    try:
        device = torch.device(name)
        torch.empty(0, device=device)
    except (RuntimeError, AssertionError) as error:
        reason = str(error).splitlines()[0]
        if "at start of device string" in reason:  # torch lists all its devices, most of which no build has
            reason = "expected auto, cpu, cuda, cuda:N or another device of torch"
        message = f"device={name!r} cannot be used: {reason}"
        raise InvalidInputError(message, parameter="device") from error
    return device


def build_model(
    layers: ModelLayers, arguments: Arguments, device: torch.device, *, with_weights: bool = True
) -> LoadedModel:
    """Build the model that layers resolve to and load its weights; the device must support its dtype.

    Without weights, the model stays on the meta device: it cannot compute.

    Raises:
        CheckpointError: If the weights do not fit the architecture.
    """
    allow_pickle = arguments.load.allow_pickle
    ctx = build_context(layers, arguments, device)
    setting = ctx.op_context(ctx.dtype)
    check_variants(ctx.registry, setting)
    check_quantization(ctx.registry, setting)
    owner = _blamed_for_model(layers)
    model = mark(_instantiate(_model_class(layers, ctx), ctx, owner), owner)
    if with_weights:
        _load_weights(model, owner, layers, allow_pickle=allow_pickle)
    add_before_pooling(ctx, model, ctx.model.modules.before, allow_pickle=allow_pickle)
    built = LoadedModel(model=model.eval(), context=ctx, layers=layers, engine=arguments.engine)
    routes = layers.get("files.routes")
    if layers.repository.route is not None or routes is None or not routes.by_input_type:
        return built
    combined: LoadedModel = imported(routes.target)(built, arguments, with_weights=with_weights)
    return combined


def _load_weights(model: PoolingModel, owner: Entry[Any], layers: ModelLayers, *, allow_pickle: bool) -> None:
    """Load the weights of a model that was built on the meta device, and its adapters.

    Raises:
        CheckpointError: If the weights do not fit the architecture.
    """
    folder, extra = layers.repository.transformer_path, layers.architecture.spec.checkpoint.extra_files
    weights = chain(
        iterate_weights(folder, allow_pickle=allow_pickle),
        iterate_extra_weights(folder, extra, allow_pickle=allow_pickle),
    )
    with blamed_plugin(owner, "failed in load_weights"):
        loaded: object = model.load_weights(weights)
    if not isinstance(loaded, LoadedWeights):
        raise breach(owner, f"load_weights returned {described(loaded)}; expected a LoadedWeights of millpond.nn")
    missing = [*loaded.missing, *missing_weights(model, loaded.names)]
    _check_loaded(layers.architecture.spec.name, owner, loaded.unused, missing)
    if layers.adapters:
        model.load_adapters({name: adapter.read() for name, adapter in layers.adapters.items()})
    _check_buffers(model, owner)
    _prepare_linears(model)


def _check_buffers(model: PoolingModel, owner: Entry[Any]) -> None:
    """Raise ComponentError for a buffer without values: the meta device keeps none that a constructor computes."""
    for path, buffer in model.named_buffers():
        if buffer.is_meta:
            names = path.split(".")[:-1]
            parts = [model.get_submodule(".".join(names[:length])) for length in range(len(names), 0, -1)]
            owners = [entry for part in parts if (entry := owner_of(part)) is not None]
            message = f"the buffer {path!r} has no values: models are built on the meta device. Compute it in forward"
            raise breach(owners[0] if owners else owner, message)


def _prepare_linears(model: PoolingModel) -> None:
    """Convert the weights of linear layers, one layer at a time."""
    freed_bytes = 0
    for module in model.modules():
        if isinstance(module, Linear):
            freed_bytes += 0 if module.weight is None else module.weight.nbytes
            module.prepare()
            if freed_bytes >= TRIM_BYTES:
                trim_heap()
                freed_bytes = 0


def build_context(layers: ModelLayers, arguments: Arguments, device: torch.device) -> Context:
    """Build the context of the model that layers resolve to, with the modules that its folder lists after pooling."""
    repository, options, config = layers.repository, arguments.load, layers.model
    lower_case = layers.architecture.spec.text.lowercase
    dtype = getattr(torch, config.dtype)
    dtype, compute = in_mixed_precision(layers.registry, dtype, device, arguments.compute)
    disable_tf32(dtype, device)
    ctx = Context(
        registry=layers.registry,
        model=config,
        config=layers.config,
        device=device,
        dtype=dtype,
        tokenizer=None if options.skip_tokenizer else repository.reader.tokenizer(config.text, lower_case=lower_case),
        inputs=options.inputs,
        compute=compute,
    )
    return load_after_pooling(ctx, config.modules.after, allow_pickle=options.allow_pickle)


def _blamed_for_model(layers: ModelLayers) -> Entry[Any]:
    """The record that errors of the model name: the converter if only that is not built in, else the architecture.

    If both come from plugins, the failing one cannot be determined.
    """
    architecture, converter = layers.architecture, layers.converter
    return (
        converter if converter is not None and is_foreign(converter) and not is_foreign(architecture) else architecture
    )


def _model_class(layers: ModelLayers, ctx: Context) -> Any:
    """The class of the model: the architecture's, or the one that the converter derives from it."""
    model_class = layers.architecture.load()
    converter = layers.converter
    if converter is None:
        return model_class
    with blamed_plugin(converter, f"failed to convert {layers.architecture.spec.name}"):
        converted = converter.load()(model_class, ctx)
    if not isinstance(converted, type) or not issubclass(converted, PoolingModel):
        raise breach(converter, f"it returned {described(converted)}; expected a subclass of millpond.nn.PoolingModel")
    return converted


def _instantiate(model_class: Any, ctx: Context, owner: Entry[Any]) -> PoolingModel:
    """Build the model on the meta device.

    Raises:
        CheckpointError: If a built-in architecture does not fit config.json.
        ComponentError: If the target of a plugin failed, or did not return a model with a pooler for each task.
    """
    try:
        with blamed_plugin(owner, "failed in target(ctx)"), torch.device("meta"):
            model: object = model_class(ctx)
    except MillpondError:
        raise
    except (ArithmeticError, AttributeError, LookupError, RuntimeError, TypeError, ValueError) as error:
        reason = f"{type(error).__name__}: {error}"
        message = f"the architecture {ctx.model.architecture!r} cannot be built from this config.json: {reason}"
        raise CheckpointError(message) from error
    if not isinstance(model, PoolingModel):
        raise breach(owner, f"target(ctx) returned {described(model)}; expected a millpond.nn.PoolingModel")
    poolers = dict(getattr(model, "poolers", {}))
    missing = [task for task in ctx.tasks if task not in poolers]
    if missing:
        message = f"the model has no pooler for {', '.join(missing)}; it has {', '.join(poolers) or 'none'}"
        raise breach(owner, f"{message}. PoolingModel.__init__(ctx) builds one for each task")
    return model


def _check_loaded(architecture: str, owner: Entry[Any], unused: list[str], missing: list[str]) -> None:
    if not unused and not missing:
        return
    builder = (
        f"{owner.label}, which builds {architecture!r}" if is_foreign(owner) else f"the architecture {architecture!r}"
    )
    parts = [
        f"{problem} ({len(names)}): {first_names(names, MAX_LISTED_TENSORS)}"
        for problem, names in (("missing", missing), ("unused", unused))
        if names
    ]
    message = f"the checkpoint's tensors do not match {builder}: {'; '.join(parts)}"
    raise CheckpointError(message)
