"""The hooks in which a plugin declares its components: functions without arguments that yield records, called once.

A plugin is a module, named by an entry point of the group ``millpond``, that implements some of these functions with
``@hookimpl``. It imports only this module and the modules of its records, such as ``millpond.plugin.specs``: the target
of a record is an import string, so the component is not imported until it is used. Kits declare more hooks, such as
``millpond_http.kinds``. The pages in ``docs/hooks`` have an example of each.
"""

from collections.abc import Callable, Iterable
from typing import Final, TypeVar, get_args, get_type_hints

import pluggy

from millpond.plugin import specs

Hook = TypeVar("Hook", bound=Callable[[], Iterable[specs.Spec]])

PROJECT: Final = "millpond"
"""The name of the project in pluggy, and the group of entry points."""

API_VERSION: Final = 1
"""Increased when a hook or a field is removed or changes its meaning, not when one is added."""

HOOKS: Final[dict[str, type[specs.Spec]]] = {}
"""The record of each hook of the core, and of the kits that this process has imported."""

HOOKSPECS: Final[dict[str, Callable[[], Iterable[specs.Spec]]]] = {}
"""The functions that declare these hooks."""

hookimpl = pluggy.HookimplMarker(PROJECT)
_marker = pluggy.HookspecMarker(PROJECT)


def hookspec(hook: Hook) -> Hook:
    """Declare a kind of records by its hook, in the module of the record.

    Plugins that yield such records import that module, so the kind is known when their hooks are called. It has the
    same rights as the kinds of the core.

    Raises:
        TypeError: If the name of the hook is not that of the kind, or a different module declares this kind.

    Example::

        @dataclass(frozen=True, kw_only=True)
        class ColorSpec(Spec):
            kind: ClassVar[str] = "color"


        @hookspec
        def register_colors() -> Iterable[ColorSpec]:
            return ()
    """
    (record,) = get_args(get_type_hints(hook)["return"])
    name = hook_of(record.kind)
    if hook.__name__ != name:
        message = f"the hook of {record.__name__} must be called {name}, not {hook.__name__}"
        raise TypeError(message)
    other = HOOKS.get(name, record)
    if other.__module__ != record.__module__:  # an equal module is loaded again
        message = f"the kind {record.kind!r} of {record.__module__} is declared by {other.__module__}; use another name"
        raise TypeError(message)
    HOOKS[name], HOOKSPECS[name] = record, _marker(hook)
    return hook


def hook_of(kind: str) -> str:
    """Return the name of the hook of a kind of records."""
    return f"register_{kind}s"


@hookspec
def register_tasks() -> Iterable[specs.TaskSpec]:
    """Declare pooling tasks.

    Callers request a task by name: ``LLM.encode(..., pooling_task="embed")``. Its record names the IO processor between
    callers and the model, the type of the output, and the default pooling type and activation. Few plugins need a task:
    with the task ``"plugin"``, an IO processor may read and return any value.
    """
    return ()


@hookspec
def register_architectures() -> Iterable[specs.ArchitectureSpec]:
    """Declare model architectures.

    The name is the one under ``architectures`` in a checkpoint's config.json. The target is a subclass of
    ``millpond.nn.PoolingModel``; it is imported when a model of that architecture is loaded, and created as
    ``target(ctx)``. An architecture with the name of a built-in one replaces it.
    """
    return ()


@hookspec
def register_published_models() -> Iterable[specs.PublishedModelSpec]:
    """Declare facts about published models that their files do not contain.

    The name is ``organisation/model``, or a shell pattern. A model is matched by the part after the organisation. Facts
    are: keys that its config.json lacks, a chat template, the text of a query and a document for a reranker, prompts.
    The user's arguments and the model's own files take precedence.
    """
    return ()


@hookspec
def register_fallbacks() -> Iterable[specs.FallbackSpec]:
    """Declare implementations for architectures that have no record of their own.

    The target is a function (name in config.json, config) -> ``ArchitectureSpec``, or a text that states why it cannot
    run that architecture. ``model_impl`` chooses an implementation by name even if there is a native one.
    """
    return ()


@hookspec
def register_converters() -> Iterable[specs.ConverterSpec]:
    """Declare converters, which turn models that do not pool into pooling models.

    ``architectures`` contains shell patterns. The converter with the longest pattern that matches a checkpoint's
    architecture is used, unless the user names one. The target is a function that takes a model class and the Context,
    and returns a model class.
    """
    return ()


@hookspec
def register_poolers() -> Iterable[specs.PoolerSpec]:
    """Declare poolers.

    The name is a pooling type, as in ``PoolerConfig(pooling_type="MEAN")``. The target is a subclass of
    ``millpond.nn.Pooler``, which computes one tensor per sequence from the hidden states of a packed batch. ``tasks``
    lists the tasks that it serves.
    """
    return ()


@hookspec
def register_activations() -> Iterable[specs.ActivationSpec]:
    """Declare activation functions.

    An activation is applied to pooled tensors as the last step. The target takes and returns a tensor of shape
    [..., dim], and keeps no state between calls.
    """
    return ()


@hookspec
def register_io_processors() -> Iterable[specs.IOProcessorSpec]:
    """Declare IO processors.

    An IO processor connects a task with its callers: it validates prompts, creates requests from them (one, several, or
    a pair), and creates outputs from the results of the model. One with ``tasks=("plugin",)`` is selected by name, by
    the user or in the model's config.json.
    """
    return ()


@hookspec
def register_kernels() -> Iterable[specs.KernelSpec]:
    """Declare kernels: implementations of ops, with the devices and dtypes they support.

    The name is ``<op>.<variant>``. The op is one of the core's (``attention``, ``segment_pool``, ``maxsim``, ...) or
    one that only models of this plugin use. Among the available variants for device and dtype, the one with the highest
    ``priority`` is used, unless the user selects one. Every op needs a variant in plain torch, which runs everywhere
    and is the reference in tests of the others.
    """
    return ()


@hookspec
def register_sources() -> Iterable[specs.SourceSpec]:
    """Declare sources of models.

    The name is a scheme: ``bucket:team/model`` is passed only to the source ``bucket``; a name without a scheme is
    passed to all sources, highest ``priority`` first. The target takes the model's name and the options, and returns
    the local folder with its files, or None if it has no such model. A source provides files and never runs them.
    """
    return ()


@hookspec
def register_checkpoint_formats() -> Iterable[specs.CheckpointFormatSpec]:
    """Declare checkpoint formats: files in addition to config.json.

    The target takes a ``millpond.model.repository.Repository``, the local folder of a checkpoint, and returns or
    yields a ``millpond.model.layers.Layer`` for each file: what it states about pooling, modules, prompts, lengths and
    more. It reads files as data. All formats whose files exist are read; if several specify a value, the highest
    ``priority`` decides. The user's arguments take precedence over files, and files over records of plugins about
    published models and architectures.
    """
    return ()


@hookspec
def register_modules() -> Iterable[specs.ModuleSpec]:
    """Declare checkpoint modules before and after pooling.

    The name is the one in the checkpoint, such as ``Dense``; in modules.json of sentence-transformers, classes of third
    parties have their full dotted name. The target takes the Context, the module's config and its ``ModuleWeights``,
    and returns a ``torch.nn.Module``: (rows) -> rows. Before pooling, it may be a ``millpond.nn.TokenModule``, which
    also receives the batch. No class that a checkpoint names is ever imported.
    """
    return ()


@hookspec
def register_executors() -> Iterable[specs.ExecutorSpec]:
    """Declare executors, which compute batches in several processes or on a type of device.

    The name is a value of ``data_parallel_backend``, whose target loads the model in other processes; or a type of
    device, such as ``cuda``.
    """
    return ()
