"""Records of plugins for tests of their checks: targets of each type, and functions that build records."""

from abc import abstractmethod
from typing import Annotated

import torch
import typer
from pydantic import BaseModel

from millpond import IOProcessor
from millpond.nn import Pooler, PoolingModel
from millpond.plugin.registry import Origin
from millpond.plugin.specs import (
    ActivationSpec,
    ArchitectureSpec,
    CheckpointFormatSpec,
    ConverterSpec,
    ExecutorSpec,
    FallbackSpec,
    IOProcessorSpec,
    KernelSpec,
    ModuleSpec,
    PoolerSpec,
    PublishedModelSpec,
    SourceSpec,
    TaskSpec,
)
from millpond_cache.kinds import CacheSpec
from millpond_command.kinds import CommandSpec
from millpond_http.kinds import RouteSpec
from millpond_modeling.images import ImageReader

ACME = Origin(plugin="acme", rank="installed", distribution="millpond-acme", version="1.0")


class Mean(Pooler):
    def pool(self, hidden_states, metadata):
        return torch.stack([rows.mean(0) for rows in hidden_states.split(list(metadata.lengths))])


def pools(function):
    """A pooler that returns what a function makes of the lists of rows."""

    class Given(Pooler):
        def pool(self, hidden_states, metadata):
            return function(hidden_states.split(list(metadata.lengths)))

    return Given


class Weighs:
    @abstractmethod
    def weights(self): ...


class Abstract(Weighs, Mean):
    pass


class TwoArguments(Mean):
    def __init__(self, ctx, size):
        super().__init__(ctx)


class Model(PoolingModel):
    def forward(self, batch):
        return batch


class Processor(IOProcessor):
    def encode(self, call):
        return []

    def decode(self, work):
        return None


def without(*methods):
    """An IO processor without some of the methods."""
    attributes = {name: value for name, value in vars(Processor).items() if name not in methods}
    return type("Partial", (IOProcessor,), attributes)


class Request(BaseModel):
    pass


class Reader:
    pass


class Abstracted(ImageReader):
    pass


async def handler(request, llm):
    return {}


async def handler_of_one(repository):
    return None


def find(name, options):
    return None


def odd_command():
    app = typer.Typer()

    @app.command()
    def run(thing: Annotated[str, typer.Option(), typer.Option()]):
        del thing

    return app


def good_command():
    app = typer.Typer()
    app.command()(lambda: None)
    return app


NAMED = {
    "Request": Request,
    "Reader": Reader,
    "Abstracted": Abstracted,
    "nothing": None,
    "yes": lambda: True,
    "maybe": lambda: 0.5,
    "fails": lambda: 1 / 0,
    "one": lambda x: x,
    "two": lambda x, y: {},
}


def pooler(target=Mean, name="ODD", **fields):
    return PoolerSpec(**{"name": name, "target": target, "tasks": ("embed",), "summary": "odd", **fields})


def architecture(target=Model, name="OddModel", **fields):
    return ArchitectureSpec(**{"name": name, "target": target, "tasks": ("embed",), "summary": "odd", **fields})


def fallback(target=lambda name, config: "no", **fields):
    defaults = {"patterns": ("Odd*",), "implementation": "odd", "summary": "odd", **fields}
    return FallbackSpec(name="odd", target=target, **defaults)


def published(name="odd/odd", **fields):
    return PublishedModelSpec(name=name, architecture="BertModel", **fields)


def activation(target, **fields):
    return ActivationSpec(**{"name": "odd", "target": target, "summary": "odd", **fields})


def processor(target=Processor, **fields):
    return IOProcessorSpec(**{"name": "odd", "target": target, "tasks": ("plugin",), "summary": "odd", **fields})


def route(target=handler, name="POST /odd", **fields):
    return RouteSpec(name=name, target=target, summary="odd", **fields)


def task(**fields):
    record = {
        "name": "odd",
        "target": "millpond.types.outputs:EmbeddingOutput",
        "io_processor": "embed",
        "summary": "odd",
    }
    return TaskSpec(**{**record, **fields})


def kernel(name="odd.torch", target=len, **fields):
    return KernelSpec(name=name, target=target, summary="odd", **fields)


def cache(target=lambda options: None, name="odd", **fields):
    return CacheSpec(name=name, target=target, summary="odd", **fields)


def source(target=find, name="odd", **fields):
    return SourceSpec(name=name, target=target, summary="odd", **fields)


def checkpoint_format(target=lambda repository: None, name="odd", **fields):
    return CheckpointFormatSpec(target=target, summary="odd", **{"name": name, "files": ("odd.json",), **fields})


def module(target=lambda ctx, config, weights: None, name="odd", **fields):
    return ModuleSpec(name=name, target=target, summary="odd", **fields)


def executor(target=lambda setup: None, name="odd", **fields):
    return ExecutorSpec(name=name, target=target, summary="odd", **fields)


def command(target=None, name="odd", **fields):
    return CommandSpec(name=name, target=good_command() if target is None else target, summary="odd", **fields)


def converter(**fields):
    record = {"name": "odd", "target": lambda model_class, ctx: model_class, "architectures": ("Odd*",)}
    return ConverterSpec(**{**record, "tasks": ("embed",), "summary": "odd", **fields})
