"""The hooks by which a plugin says what it brings. All are generators of records, take nothing, and are asked once.

A plugin is a module, named by an entry point of the group ``millpond``, that implements some of these functions under
``@hookimpl``. It imports nothing but this module and ``millpond.plugin.specs``: a record's target is an import string,
so what it names costs nothing until it is used.
"""

from collections.abc import Iterable
from typing import Final

import pluggy

from millpond.plugin.specs import (
    ActivationSpec,
    ArchitectureSpec,
    CheckpointFormatSpec,
    CommandSpec,
    ConverterSpec,
    FallbackSpec,
    IOProcessorSpec,
    KernelSpec,
    ModuleSpec,
    PoolerSpec,
    PublishedModelSpec,
    RouteSpec,
    SourceSpec,
    TaskSpec,
)

PROJECT: Final = "millpond"
"""The name under which pluggy knows us, and the group of our entry points."""

API_VERSION: Final = 1
"""Raised when a hook or a field is taken away or changes its meaning, never when one is added."""

hookspec = pluggy.HookspecMarker(PROJECT)
hookimpl = pluggy.HookimplMarker(PROJECT)


@hookspec
def register_tasks() -> Iterable[TaskSpec]:
    """Say which pooling tasks this plugin adds.

    A task is what callers ask for: ``LLM.encode(..., pooling_task="embed")``. Its record names the IO processor that
    stands between caller and model, the type of the output, and the pooling type and activation of models for which
    neither the user nor the checkpoint says any. Few plugins need one: under the task ``"plugin"`` an IO processor
    takes and gives whatever it likes.

    Example::

        from collections.abc import Iterator

        from millpond.plugin.hookspecs import hookimpl
        from millpond.plugin.specs import TaskSpec


        @hookimpl
        def register_tasks() -> Iterator[TaskSpec]:
            yield TaskSpec(
                name="fingerprint",
                target="millpond.types.outputs:EmbeddingOutput",
                io_processor="fingerprint",
                default_pooling="MEAN",
                summary="One short vector a text, for finding near duplicates.",
            )
    """
    return ()


@hookspec
def register_architectures() -> Iterable[ArchitectureSpec]:
    """Declare the model architectures that this plugin runs.

    The name is the one under ``architectures`` in a checkpoint's config.json. The target is a subclass of
    ``millpond.nn.PoolingModel``; it is imported when a model of that architecture is loaded, and created as
    ``target(ctx)``. An architecture with the name of a built-in one replaces it.

    Example::

        from collections.abc import Iterator

        from millpond.plugin.hookspecs import hookimpl
        from millpond.plugin.specs import ArchitectureSpec, PoolingDefaults


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
def register_published_models() -> Iterable[PublishedModelSpec]:
    """Declare facts about published models that their files do not contain.

    The name is ``organisation/model``, or a shell pattern. A model is matched by the part after the organisation. Facts
    are: keys that its config.json lacks, a chat template, the text of a query and a document for a reranker, prompts.
    The user's arguments and the model's own files take precedence.

    Example::

        from collections.abc import Iterator

        from millpond.plugin.hookspecs import hookimpl
        from millpond.plugin.specs import PublishedModelSpec


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
def register_fallbacks() -> Iterable[FallbackSpec]:
    """Declare implementations for architectures that have no record of their own.

    The target is a function (name in config.json, config) -> ``ArchitectureSpec``, or a text that states why it cannot
    run that architecture. ``model_impl`` chooses an implementation by name even if there is a native one.

    Example::

        from collections.abc import Iterator

        from millpond.plugin.hookspecs import hookimpl
        from millpond.plugin.specs import FallbackSpec


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
def register_converters() -> Iterable[ConverterSpec]:
    """Say how models that do not pool are made into models that do.

    ``architectures`` holds shell patterns. Of the converters that match a checkpoint's architecture, the one with the
    longest pattern is taken, unless the user names one. The target is a function that takes a model class and the
    Context, and returns a model class.

    Example::

        from collections.abc import Iterator

        from millpond.plugin.hookspecs import hookimpl
        from millpond.plugin.specs import ConverterSpec


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
def register_poolers() -> Iterable[PoolerSpec]:
    """Say which poolers this plugin brings.

    The name is a pooling type, as in ``PoolerConfig(pooling_type="MEAN")``. The target is a subclass of
    ``millpond.nn.Pooler``: out of the hidden states of a packed batch it makes one tensor for each sequence. ``tasks``
    lists the tasks for which it can be asked.

    Example::

        from collections.abc import Iterator

        from millpond.plugin.hookspecs import hookimpl
        from millpond.plugin.specs import PoolerSpec


        @hookimpl
        def register_poolers() -> Iterator[PoolerSpec]:
            yield PoolerSpec(name="MIN", target="millpond_hello.pooling:MinPooling", tasks=("embed", "classify"))
    """
    return ()


@hookspec
def register_activations() -> Iterable[ActivationSpec]:
    """Say which activation functions this plugin brings.

    An activation is the last thing that happens to a pooled tensor. The target takes a tensor of shape [..., dim],
    returns one, and remembers nothing between calls.

    Example::

        from collections.abc import Iterator

        from millpond.plugin.hookspecs import hookimpl
        from millpond.plugin.specs import ActivationSpec


        @hookimpl
        def register_activations() -> Iterator[ActivationSpec]:
            yield ActivationSpec(name="softplus", target="torch.nn.functional:softplus", summary="A smooth relu.")
    """
    return ()


@hookspec
def register_io_processors() -> Iterable[IOProcessorSpec]:
    """Say which IO processors this plugin brings.

    An IO processor is a task's whole dealing with the world outside: it checks what the caller hands in, makes requests
    of it (one, several, or a pair), and makes an output of what the model gave for them. One with ``tasks=("plugin",)``
    is asked for by its name: by the user, or by the model's config.json.

    Example::

        from collections.abc import Iterator

        from millpond.plugin.hookspecs import hookimpl
        from millpond.plugin.specs import IOProcessorSpec


        @hookimpl
        def register_io_processors() -> Iterator[IOProcessorSpec]:
            yield IOProcessorSpec(name="hello", target="millpond_hello.io:HelloProcessor", tasks=("plugin",))
    """
    return ()


@hookspec
def register_kernels() -> Iterable[KernelSpec]:
    """Say which ops this plugin implements, and where those implementations run.

    The name is ``<op>.<variant>``. The op is one of the core's (``attention``, ``segment_pool``, ``maxsim``, ...) or
    one that only models of this plugin ask for. Among the variants that fit device and dtype and that are available,
    the highest ``priority`` wins, unless the user names one. Every op needs a variant in plain torch: it runs
    everywhere, and the others are tested against it.

    Example::

        from collections.abc import Iterator

        from millpond.plugin.hookspecs import hookimpl
        from millpond.plugin.specs import KernelSpec


        @hookimpl
        def register_kernels() -> Iterator[KernelSpec]:
            yield KernelSpec(name="greet.torch", target="millpond_hello.greet:greet")
            yield KernelSpec(
                name="greet.triton",
                target="millpond_hello.greet_triton:greet",
                devices=("cuda",),
                dtypes=("float16", "bfloat16"),
                priority=10,
                available="millpond_hello.greet_triton:is_available",
            )
    """
    return ()


@hookspec
def register_sources() -> Iterable[SourceSpec]:
    """Say where models can come from.

    The name is a scheme: ``bucket:team/model`` asks the source ``bucket`` alone; a name without a scheme is asked of
    all sources, highest ``priority`` first. The target takes the model's name and the options, and returns the local
    folder that holds its files, or None when it knows no such model. A source moves files and never runs them.

    Example::

        from collections.abc import Iterator

        from millpond.plugin.hookspecs import hookimpl
        from millpond.plugin.specs import SourceSpec


        @hookimpl
        def register_sources() -> Iterator[SourceSpec]:
            yield SourceSpec(name="bucket", target="millpond_hello.bucket:fetch", priority=5)
    """
    return ()


@hookspec
def register_commands() -> Iterable[CommandSpec]:
    """Say which commands this plugin adds under ``millpond``.

    The target is a ``typer.Typer``. ``millpond --help`` lists the command by its summary; the target is imported when
    the command is called.

    Example::

        from collections.abc import Iterator

        from millpond.plugin.hookspecs import hookimpl
        from millpond.plugin.specs import CommandSpec


        @hookimpl
        def register_commands() -> Iterator[CommandSpec]:
            yield CommandSpec(name="hello", target="millpond_hello.command:app", summary="Greet a model.")
    """
    return ()


@hookspec
def register_routes() -> Iterable[RouteSpec]:
    """Say which HTTP routes this plugin can serve.

    The name is method and path. The target is an async function that takes the request and the model and returns a
    response. Installed is not exposed: the routes of a plugin that is not built in are mounted only when whoever starts
    the server names that plugin.

    Example::

        from collections.abc import Iterator

        from millpond.plugin.hookspecs import hookimpl
        from millpond.plugin.specs import RouteSpec


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
def register_checkpoint_formats() -> Iterable[CheckpointFormatSpec]:
    """Say which formats of files beside config.json this plugin reads.

    The target takes a ``millpond.loading.repository.Repository``, the local folder of a checkpoint, and returns
    ``millpond.types.checkpoint.CheckpointFacts``: pooling types, modules before and after pooling, prompts, lengths and
    more, each with its origin; or None if the folder holds none of its format. It reads files as data. All formats
    whose files are there are asked; of a value that several state, that of the highest ``priority`` is taken. What the
    user says counts more, what plugins know of published models and of architectures counts less.

    Example::

        from collections.abc import Iterator

        from millpond.plugin.hookspecs import hookimpl
        from millpond.plugin.specs import CheckpointFormatSpec


        @hookimpl
        def register_checkpoint_formats() -> Iterator[CheckpointFormatSpec]:
            yield CheckpointFormatSpec(name="hello", target="millpond_hello.format:read", files=("hello.json",))
    """
    return ()


@hookspec
def register_modules() -> Iterable[ModuleSpec]:
    """Say which modules of checkpoints, before and after pooling, this plugin builds.

    The name is the one that a checkpoint lists, such as ``Dense``; in modules.json of sentence-transformers a class
    that is not one of theirs has its full dotted name. The target takes the Context, the module's config and its
    ``ModuleWeights``, and returns a ``torch.nn.Module``: (rows) -> rows; before pooling it may be a
    ``millpond.nn.TokenModule``, which gets the batch too. No class that a checkpoint names is ever imported.

    Example::

        from collections.abc import Iterator

        from millpond.plugin.hookspecs import hookimpl
        from millpond.plugin.specs import ModuleSpec


        @hookimpl
        def register_modules() -> Iterator[ModuleSpec]:
            yield ModuleSpec(name="hello_net.Gate", target="millpond_hello.gate:load_gate", places=("after",))
    """
    return ()
