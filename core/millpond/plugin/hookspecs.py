"""The hooks in which a plugin declares its components: functions without arguments that yield records, called once.

A plugin is a module, named by an entry point of the group ``millpond``, that implements some of these functions with
``@hookimpl``. It imports only this module and ``millpond.plugin.specs``: the target of a record is an import string, so
the component is not imported until it is used.

The examples below omit their imports::

    from collections.abc import Iterator

    from millpond.plugin.hookspecs import hookimpl
    from millpond.plugin.specs import TaskSpec  # and the other records
"""

from collections.abc import Iterable
from typing import Final

import pluggy

from millpond.plugin import specs

PROJECT: Final = "millpond"
"""The name of the project in pluggy, and the group of entry points."""

API_VERSION: Final = 1
"""Increased when a hook or a field is removed or changes its meaning, not when one is added."""

hookspec = pluggy.HookspecMarker(PROJECT)
hookimpl = pluggy.HookimplMarker(PROJECT)


@hookspec
def register_tasks() -> Iterable[specs.TaskSpec]:
    """Declare pooling tasks.

    Callers request a task by name: ``LLM.encode(..., pooling_task="embed")``. Its record names the IO processor between
    callers and the model, the type of the output, and the default pooling type and activation. Few plugins need a task:
    with the task ``"plugin"``, an IO processor may read and return any value.

    Example::

        @hookimpl
        def register_tasks() -> Iterator[TaskSpec]:
            yield TaskSpec(
                name="fingerprint",
                target="millpond.types.outputs:EmbeddingOutput",
                io_processor="fingerprint",
                default_pooling="MEAN",
                summary="One short vector per text, for finding near duplicates.",
            )
    """
    return ()


@hookspec
def register_architectures() -> Iterable[specs.ArchitectureSpec]:
    """Declare model architectures.

    The name is the one under ``architectures`` in a checkpoint's config.json. The target is a subclass of
    ``millpond.nn.PoolingModel``; it is imported when a model of that architecture is loaded, and created as
    ``target(ctx)``. An architecture with the name of a built-in one replaces it.

    Example::

        @hookimpl
        def register_architectures() -> Iterator[ArchitectureSpec]:
            yield ArchitectureSpec(
                name="HelloModel",
                target="millpond_hello.model:HelloModel",
                tasks=("embed", "token_embed"),
                pooling=PoolingDefaults("MEAN"),
            )
    """
    return ()


@hookspec
def register_published_models() -> Iterable[specs.PublishedModelSpec]:
    """Declare facts about published models that their files do not contain.

    The name is ``organisation/model``, or a shell pattern. A model is matched by the part after the organisation. Facts
    are: keys that its config.json lacks, a chat template, the text of a query and a document for a reranker, prompts.
    The user's arguments and the model's own files take precedence.

    Example::

        @hookimpl
        def register_published_models() -> Iterator[PublishedModelSpec]:
            yield PublishedModelSpec(
                name="hello/hello-embed-*",
                architecture="HelloModel",
                config={"is_matryoshka": True},
                prompts={"query": "query: ", "document": "passage: "},
            )
    """
    return ()


@hookspec
def register_fallbacks() -> Iterable[specs.FallbackSpec]:
    """Declare implementations for architectures that have no record of their own.

    The target is a function (name in config.json, config) -> ``ArchitectureSpec``, or a text that states why it cannot
    run that architecture. ``model_impl`` chooses an implementation by name even if there is a native one.

    Example::

        @hookimpl
        def register_fallbacks() -> Iterator[FallbackSpec]:
            yield FallbackSpec(
                name="hello-models",
                target="millpond_hello.resolve:describe",
                patterns=("Hello*Model",),
                implementation="hello",
            )
    """
    return ()


@hookspec
def register_converters() -> Iterable[specs.ConverterSpec]:
    """Declare converters, which turn models that do not pool into pooling models.

    ``architectures`` contains shell patterns. The converter with the longest pattern that matches a checkpoint's
    architecture is used, unless the user names one. The target is a function that takes a model class and the Context,
    and returns a model class.

    Example::

        @hookimpl
        def register_converters() -> Iterator[ConverterSpec]:
            yield ConverterSpec(
                name="hello-embed",
                target="millpond_hello.convert:as_embedding_model",
                architectures=("Hello*ForCausalLM",),
                tasks=("embed",),
            )
    """
    return ()


@hookspec
def register_poolers() -> Iterable[specs.PoolerSpec]:
    """Declare poolers.

    The name is a pooling type, as in ``PoolerConfig(pooling_type="MEAN")``. The target is a subclass of
    ``millpond.nn.Pooler``, which computes one tensor per sequence from the hidden states of a packed batch. ``tasks``
    lists the tasks that it serves.

    Example::

        @hookimpl
        def register_poolers() -> Iterator[PoolerSpec]:
            yield PoolerSpec(name="MIN", target="millpond_hello.pooling:MinPooling", tasks=("embed", "classify"))
    """
    return ()


@hookspec
def register_activations() -> Iterable[specs.ActivationSpec]:
    """Declare activation functions.

    An activation is applied to pooled tensors as the last step. The target takes and returns a tensor of shape
    [..., dim], and keeps no state between calls.

    Example::

        @hookimpl
        def register_activations() -> Iterator[ActivationSpec]:
            yield ActivationSpec(name="softplus", target="torch.nn.functional:softplus", summary="A smooth relu.")
    """
    return ()


@hookspec
def register_io_processors() -> Iterable[specs.IOProcessorSpec]:
    """Declare IO processors.

    An IO processor connects a task with its callers: it validates prompts, creates requests from them (one, several, or
    a pair), and creates outputs from the results of the model. One with ``tasks=("plugin",)`` is selected by name, by
    the user or in the model's config.json.

    Example::

        @hookimpl
        def register_io_processors() -> Iterator[IOProcessorSpec]:
            yield IOProcessorSpec(name="hello", target="millpond_hello.io:HelloProcessor", tasks=("plugin",))
    """
    return ()


@hookspec
def register_kernels() -> Iterable[specs.KernelSpec]:
    """Declare kernels: implementations of ops, with the devices and dtypes they support.

    The name is ``<op>.<variant>``. The op is one of the core's (``attention``, ``segment_pool``, ``maxsim``, ...) or
    one that only models of this plugin use. Among the available variants for device and dtype, the one with the highest
    ``priority`` is used, unless the user selects one. Every op needs a variant in plain torch, which runs everywhere
    and is the reference in tests of the others.

    Example::

        @hookimpl
        def register_kernels() -> Iterator[KernelSpec]:
            yield KernelSpec(name="greet.torch", target="millpond_hello.greet:greet")
            yield KernelSpec(name="greet.triton", target="millpond_hello.fast:greet", devices=("cuda",), priority=10)
    """
    return ()


@hookspec
def register_sources() -> Iterable[specs.SourceSpec]:
    """Declare sources of models.

    The name is a scheme: ``bucket:team/model`` is passed only to the source ``bucket``; a name without a scheme is
    passed to all sources, highest ``priority`` first. The target takes the model's name and the options, and returns
    the local folder with its files, or None if it has no such model. A source provides files and never runs them.

    Example::

        @hookimpl
        def register_sources() -> Iterator[SourceSpec]:
            yield SourceSpec(name="bucket", target="millpond_hello.bucket:fetch", priority=5)
    """
    return ()


@hookspec
def register_commands() -> Iterable[specs.CommandSpec]:
    """Declare subcommands of ``millpond``.

    The target is a ``typer.Typer``. ``millpond --help`` shows the summary of the command; the target is imported when
    the command is called.

    Example::

        @hookimpl
        def register_commands() -> Iterator[CommandSpec]:
            yield CommandSpec(name="hello", target="millpond_hello.command:app", summary="Greet a model.")
    """
    return ()


@hookspec
def register_routes() -> Iterable[specs.RouteSpec]:
    """Declare HTTP routes.

    The name is method and path. The target is an async function that takes the request and the model and returns a
    response. Routes of installed plugins are not exposed by default: they are mounted only if the command that starts
    the server names the plugin.

    Example::

        @hookimpl
        def register_routes() -> Iterator[RouteSpec]:
            yield RouteSpec(
                name="POST /v1/hello",
                target="millpond_hello.http:hello",
                tasks=("embed",),
                request="millpond_hello.http:HelloRequest",
                response="millpond_hello.http:HelloResponse",
            )
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

    Example::

        @hookimpl
        def register_checkpoint_formats() -> Iterator[CheckpointFormatSpec]:
            yield CheckpointFormatSpec(name="hello", target="millpond_hello.format:read", files=("hello.json",))
    """
    return ()


@hookspec
def register_modules() -> Iterable[specs.ModuleSpec]:
    """Declare checkpoint modules before and after pooling.

    The name is the one in the checkpoint, such as ``Dense``; in modules.json of sentence-transformers, classes of third
    parties have their full dotted name. The target takes the Context, the module's config and its ``ModuleWeights``,
    and returns a ``torch.nn.Module``: (rows) -> rows. Before pooling, it may be a ``millpond.nn.TokenModule``, which
    also receives the batch. No class that a checkpoint names is ever imported.

    Example::

        @hookimpl
        def register_modules() -> Iterator[ModuleSpec]:
            yield ModuleSpec(name="hello_net.Gate", target="millpond_hello.gate:load_gate", places=("after",))
    """
    return ()


@hookspec
def register_caches() -> Iterable[specs.CacheSpec]:
    """Declare caches of results.

    The name is a scheme: ``LLM(..., cache="bucket:vectors")`` opens the cache ``bucket``. The target takes
    ``millpond.pipeline.cache.CacheOptions`` and returns a ``millpond.pipeline.cache.Cache``, which stores bytes by keys
    of 32 bytes. Keys contain everything that can change a result, and values are checked by the caller, so a cache may
    lose entries at any time.

    Example::

        @hookimpl
        def register_caches() -> Iterator[CacheSpec]:
            yield CacheSpec(name="bucket", target="millpond_hello.bucket:open_cache", summary="a key-value store")
    """
    return ()


@hookspec
def register_executors() -> Iterable[specs.ExecutorSpec]:
    """Declare executors, which compute batches in several processes or on a type of device.

    The name is a value of ``data_parallel_backend``, whose target loads the model in other processes; or a type of
    device, such as ``cuda``.

    Example::

        from collections.abc import Iterator

        from millpond.plugin.hookspecs import hookimpl
        from millpond.plugin.specs import ExecutorSpec


        @hookimpl
        def register_executors() -> Iterator[ExecutorSpec]:
            yield ExecutorSpec(name="cluster", target="millpond_hello.cluster:ClusterExecutor")
    """
    return ()


@hookspec
def register_services() -> Iterable[specs.ServiceSpec]:
    """Declare services: objects for other plugins, since plugins do not import each other, or for the core.

    The role determines the protocol of the target, in ``millpond.types.services``. A cluster becomes an option of
    ``millpond job run``: the cluster ``ray`` is ``--ray ADDRESS``.

    Example::

        from collections.abc import Iterator

        from millpond.plugin.hookspecs import hookimpl
        from millpond.plugin.specs import ServiceSpec


        @hookimpl
        def register_services() -> Iterator[ServiceSpec]:
            yield ServiceSpec(name="hello", role="cluster", target="millpond_hello.cluster:HelloCluster")
    """
    return ()
