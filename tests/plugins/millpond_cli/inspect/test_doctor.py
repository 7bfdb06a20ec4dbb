"""``millpond plugins doctor``: faults of records and their targets, found without a model."""

import sys
from abc import ABC
from types import ModuleType

import pytest
import torch
import typer
from odd_records import (
    ACME,
    NAMED,
    Abstract,
    Mean,
    Model,
    Processor,
    Reader,
    Request,
    TwoArguments,
    Weighs,
    activation,
    architecture,
    cache,
    checkpoint_format,
    command,
    converter,
    executor,
    fallback,
    handler,
    handler_of_one,
    kernel,
    module,
    odd_command,
    pooler,
    pools,
    processor,
    published,
    route,
    source,
    task,
    without,
)

from millpond.nn import Pooler, PoolingModel, WeightTransform
from millpond.plugin.specs import (
    CheckpointLayout,
    ModelExtras,
    OutputShape,
    PoolerSpec,
    PoolingDefaults,
    RerankTemplate,
    TextInput,
)
from millpond.testing.records import record_faults
from millpond_command.kinds import ApplicationSpec, ClusterSpec
from millpond_vllm.kinds import DialectSpec


@pytest.fixture(autouse=True)
def odd(monkeypatch):
    """A module that import strings can name."""
    module = ModuleType("odd")
    vars(module).update(NAMED)
    monkeypatch.setitem(sys.modules, "odd", module)


FAULTS = {
    # --- any record
    "a target of None": (pooler(None), "is None"),
    "a target that is None where it is named": (pooler("odd:nothing"), "'odd:nothing' is None"),
    "a missing module": (pooler("not_here_at_all:X"), "raised ModuleNotFoundError: No module named 'not_here_at_all'"),
    "a missing attribute": (pooler("odd:X"), "raised AttributeError"),
    "a target without a colon": (pooler("odd.X"), "package.module:attribute"),
    "a name with a slash": (pooler(name="a/b"), "its name 'a/b' contains '/'"),
    "a name with white space": (pooler(name="ODD "), "begins or ends with white space"),
    "a list for a tuple": (pooler(tasks=["embed"]), "tasks=['embed'] has the wrong type"),
    "a number for a task": (pooler(tasks=(5,)), "tasks=(5,) has the wrong type"),
    "an empty task": (pooler(tasks=("embed", "")), "tasks contains an empty name"),
    "a task twice": (pooler(tasks=("embed", "embed")), "tasks lists 'embed' 2 times"),
    "a text for a number": (source(priority="high"), "priority='high' has the wrong type"),
    "a number for a summary": (
        PoolerSpec(name="X", target=Mean, tasks=("embed",), summary=5),
        "summary=5 has the wrong",
    ),
    "a summary of two lines": (pooler(summary="a\nb"), "its summary is longer than one line"),
    "an empty field": (pooler(size_key=" "), "size_key is an empty text"),
    # --- poolers
    "a pooler without tasks": (pooler(tasks=()), "it has no tasks"),
    "a pooler of an unknown task": (pooler(tasks=("embedd",)), "tasks names 'embedd', which no plugin provides"),
    "a pooler with an unknown activation": (pooler(activation="normalise"), "activation names 'normalise'"),
    "a pooler with a plus": (pooler(name="A+B"), "its name contains '+', which joins pooling types"),
    "a pooler that is a function": (pooler(len), "not a class"),
    "a pooler that is an instance": (pooler(object()), "not a class"),
    "a pooler of another class": (pooler(dict), "its target dict is not a subclass of millpond.nn.Pooler"),
    "an abstract pooler": (pooler(Abstract), "its target Abstract is abstract: weights"),
    "an abstract pooler by ABC": (pooler(type("Base", (Abstract, ABC), {})), "its target Base is abstract: weights"),
    "an abstract IO processor": (
        processor(type("Base", (Processor, Weighs), {})),
        "its target Base is abstract: weights",
    ),
    "a pooler without pool": (pooler(type("P", (Pooler,), {})), "overrides neither pool nor forward"),
    "a pooler with another constructor": (pooler(TwoArguments), "target(ctx) does not match its signature"),
    "a pooler without ctx": (pooler(type("P", (Mean,), {"__init__": lambda self: None})), "target(ctx) does not match"),
    "a pooler whose pool lacks metadata": (
        pooler(type("P", (Pooler,), {"pool": lambda self, hidden_states: None})),
        "pool(self, hidden_states, metadata) does not match its signature",
    ),
    "a pooler that cannot be built": (
        pooler(type("P", (Mean,), {"__init__": lambda self, ctx: 1 / 0})),
        "target(ctx) raised ZeroDivisionError",
    ),
    "a pooler that raises": (pooler(pools(lambda rows: 1 / 0)), "it failed for the task 'embed'"),
    "a pooler that returns None": (pooler(pools(lambda rows: None)), "pool returned None"),
    "a pooler that pads": (
        pooler(pools(lambda rows: torch.nn.utils.rnn.pad_sequence(list(rows), batch_first=True))),
        "pool returned a tensor [1, 1, 24]",
    ),
    "a pooler that is too narrow": (
        pooler(pools(lambda rows: torch.stack([tensor.mean(0)[:5] for tensor in rows]))),
        "it returned a tensor [1, 5]",
    ),
    "a pooler with a row too many": (
        pooler(pools(lambda rows: torch.zeros(len(rows) + 1, 24))),
        "pool returned a tensor",
    ),
    "a pooler of integers": (
        pooler(
            type(
                "P",
                (Mean,),
                {"forward": lambda self, hidden_states, metadata: self.pool(hidden_states, metadata).int()},
            )
        ),
        "it returned int32 for the task 'embed'",
    ),
    "a pooler that fails for one token": (
        pooler(pools(lambda rows: torch.stack([tensor[:-1].mean(0) for tensor in rows]))),
        "it returned NaN or infinity for the task 'embed' and sequences of 1 tokens",
    ),
    "a pooler that mixes sequences": (
        pooler(pools(lambda rows: torch.stack([torch.cat(list(rows)).mean(0) for _ in rows]))),
        "its result for a sequence depends on the other sequences of the batch",
    ),
    "a pooler that mixes the tokens of sequences": (
        pooler(pools(lambda rows: [tensor + len(rows) for tensor in rows]), tasks=("token_embed",)),
        "its result for a sequence depends on the other sequences of the batch",
    ),
    "a pooler that reads what the context lacks": (
        pooler(type("P", (Mean,), {"__init__": lambda self, ctx: ctx.confg})),
        "target(ctx) raised AttributeError",
    ),
    "a pooler that writes into its input": (
        pooler(pools(lambda rows: torch.stack([tensor.zero_().mean(0) for tensor in rows]))),
        "it writes into the hidden states",
    ),
    # --- activations
    "an activation of another shape": (activation(lambda x: x.sum(-1)), "returned a tensor [] for one of [7]"),
    "an activation that returns a float": (activation(lambda x: 0.5), "returned a float"),
    "an activation that raises": (activation(lambda x: 1 / 0), "raised ZeroDivisionError"),
    "an activation of two arguments": (activation(lambda x, y: x), "target(x) does not match its signature"),
    "an activation that is no function": (activation(5), "which cannot be called"),
    "an activation for one shape alone": (activation(lambda x: torch.softmax(x, 1)), "raised IndexError"),
    "an activation in place": (activation(lambda x: x.mul_(2)), "writes into its input"),
    "an activation that rounds to integers": (activation(lambda x: x.long()), "returned int64 for a tensor of float32"),
    "an activation of an unknown op": (activation(torch.relu, op="normalise"), "op names 'normalise'"),
    "an async activation": (activation(handler), "does not match"),
    # --- IO processors
    "an IO processor without encode": (processor(without("encode")), "does not implement encode"),
    "an IO processor without decode": (processor(without("decode")), "does not implement decode"),
    "an IO processor of another class": (processor(dict), "not a subclass of millpond.IOProcessor"),
    "an IO processor that is a function": (processor(len), "not a class"),
    "an IO processor with another constructor": (
        processor(type("P", (Processor,), {"__init__": lambda self, ctx, size: None})),
        "target(ctx) does not match",
    ),
    "an async IO processor": (processor(type("P", (Processor,), {"decode": handler})), "decode is async"),
    "an IO processor whose encode lacks the call": (
        processor(type("P", (Processor,), {"encode": lambda self: []})),
        "encode(self, call) does not match",
    ),
    "an IO processor whose refusal is a method": (
        processor(type("P", (Processor,), {"refusal": lambda self, ctx: None})),
        "refusal is not a class method",
    ),
    "an IO processor of an unknown task": (processor(tasks=("plugins",)), "tasks names 'plugins'"),
    "an IO processor without tasks": (processor(tasks=()), "it has no tasks"),
    # --- tasks
    "a task with an unknown IO processor": (task(io_processor="embedd"), "io_processor names 'embedd'"),
    "a task that its IO processor does not serve": (task(), "its io_processor 'embed' does not support it"),
    "a task with an unknown pooling type": (task(default_pooling="MEEN"), "default_pooling names 'MEEN'"),
    "a task with pooling of the other kind": (task(default_pooling="ALL"), "does not return one result per prompt"),
    "a task with an unknown activation": (task(default_activation="softmx"), "default_activation names 'softmx'"),
    "a task made of an unknown one": (task(derived_from=("embedd",)), "derived_from names 'embedd'"),
    "a task made of a derived one": (
        task(derived_from=("score",)),
        "derived_from names 'score', which is itself derived",
    ),
    "a task whose output is no type": (task(target=len), "not a type"),
    "a task with missing options": (task(options="odd:X"), "options='odd:X' raised AttributeError"),
    "a task whose options are not a model": (task(options=Reader), "not a pydantic model"),
    "a task whose item is not a model": (
        task(item=Reader),
        "item names <class 'odd_records.Reader'>, not a pydantic model",
    ),
    "a task whose options can change": (task(options=Request), "its options Request lack frozen=True"),
    "a task whose options take any name": (task(options=Request), "its options Request lack extra='forbid'"),
    "a task with a missing output": (task(output="odd:X"), "output='odd:X' raised AttributeError"),
    "a task whose method returns another type": (task(output=Reader), "not a subclass of millpond.PoolingRequest"),
    "a task with a method of LLM": (task(method="close"), "method='close' is never called: LLM has it already"),
    "a task with a method of AsyncLLM": (task(method="restart"), "AsyncLLM has it already"),
    "a task with a method of another": (task(method="entities"), "also the method of the task 'tasks/entities'"),
    "a task whose method has a space": (task(method="odd name"), "is not the name of a public method"),
    "a task whose method is a keyword": (task(method="class"), "is not the name of a public method"),
    # --- architectures
    "an architecture of an unknown task": (architecture(tasks=("embedding",)), "tasks names 'embedding'"),
    "an architecture with unknown positions": (
        architecture(text=TextInput(positions="rotary")),
        "text.positions='rotary' is unknown",
    ),
    "an architecture with an invalid modality": (architecture(modalities=("Time series",)), "names 'Time series'"),
    "an architecture that reads nothing": (architecture(modalities=()), "modalities are empty"),
    "an architecture with an unknown pooling type": (
        architecture(pooling=PoolingDefaults("AVERAGE")),
        "pooling.type names 'AVERAGE'",
    ),
    "an architecture with pooling of tokens": (
        architecture(pooling=PoolingDefaults("ALL")),
        "does not return one result per prompt",
    ),
    "an architecture with an unknown pooler setting": (
        architecture(pooling=PoolingDefaults(settings={"pooling": "MEAN"})),
        "pooling.settings",
    ),
    "an architecture with an unknown STEP": (
        architecture(pooling=PoolingDefaults(tok_type="STEPS")),
        "pooling.tok_type names 'STEPS'",
    ),
    "an architecture with images unsaid": (
        architecture(extras=ModelExtras(image_processor="odd:Abstracted")),
        "modalities lack 'image'",
    ),
    "an architecture with an abstract reader": (
        architecture(extras=ModelExtras(image_processor="odd:Abstracted"), modalities=("text", "image")),
        "its target Abstracted is abstract",
    ),
    "an architecture with another reader": (
        architecture(extras=ModelExtras(image_processor="odd:Reader"), modalities=("text", "image")),
        "image_processor Reader is not an ImageReader",
    ),
    "an architecture with a missing reader": (
        architecture(extras=ModelExtras(image_processor="odd:X"), modalities=("text", "image")),
        "image_processor='odd:X' raised AttributeError",
    ),
    "an architecture with a tiny checkpoint of one argument": (
        architecture(extras=ModelExtras(tiny="odd:one")),
        "tiny(architecture, folder) does",
    ),
    "an architecture with size keys that are text": (
        architecture(checkpoint=CheckpointLayout(supersedes=("", "A", "A"))),
        "checkpoint.supersedes contains an empty name",
    ),
    "an architecture with a group of another type": (architecture(text="relative"), "text='relative' has the wrong"),
    "an architecture with labels that are text": (
        architecture(output=OutputShape(num_labels="2")),
        "output.num_labels='2' has the wrong type",
    ),
    "a fallback of one argument": (fallback(lambda name: name), "target(name, config) does"),
    "a fallback without patterns": (fallback(patterns=()), "patterns are empty"),
    "a fallback that claims to be native": (fallback(implementation="native"), "implementation='native' is reserved"),
    "an architecture with a missing late_interaction": (
        architecture(extras=ModelExtras(late_interaction="odd:X")),
        "late_interaction='odd:X'",
    ),
    "an architecture with an unknown activation": (
        architecture(output=OutputShape(activation="sigmoidal")),
        "output.activation names 'sigmoidal'",
    ),
    "an architecture of no classes": (
        architecture(output=OutputShape(num_labels=0)),
        "num_labels=0 is not a number of classes",
    ),
    "an architecture with weights of tokens": (
        architecture(output=OutputShape(token_weights=True)),
        "token_weights needs the task 'token_classify'",
    ),
    "a published model without its organisation": (published("minilm"), "name='minilm' lacks the organisation"),
    "a published model with a broken chat template": (published(chat_template="{% if %}"), "is not Jinja"),
    "a published model with a prompt that is not text": (published(prompts={"query": 1}), "prompts"),
    "a published model whose template has an unknown part": (
        published(rerank_template=RerankTemplate(pieces=("{query} {text}",))),
        "cannot be filled: KeyError",
    ),
    "a published model whose template leaves the document out": (
        published(rerank_template=RerankTemplate(pieces=("{query}",))),
        "leaves the document out",
    ),
    "an architecture of another class": (architecture(dict), "not a subclass of millpond.nn.PoolingModel"),
    "an architecture without forward": (architecture(type("M", (PoolingModel,), {})), "does not implement forward"),
    "an architecture with another constructor": (
        architecture(type("M", (Model,), {"__init__": lambda self, config: None, "__new__": lambda cls, a, b: None})),
        "target(ctx) does not match",
    ),
    "an architecture with a broken pattern": (
        architecture(type("M", (Model,), {"weight_names": (("(", "x"),)})),
        "the pattern '(' of its weights is invalid",
    ),
    "an architecture with a broken pattern of a transform": (
        architecture(type("M", (Model,), {"weight_transforms": (WeightTransform.transpose("("),)})),
        "the pattern '(' of its weights is invalid",
    ),
    "an architecture with a transform that is none": (
        architecture(type("M", (Model,), {"weight_transforms": (("a", "b"),)})),
        "weight_transforms contains ('a', 'b')",
    ),
    # --- converters
    "a converter without tasks": (converter(tasks=()), "has no tasks"),
    "a converter of an unknown task": (converter(tasks=("embedd",)), "tasks names 'embedd'"),
    "a converter of an unknown pooling type": (converter(pooling=("MEEN",)), "pooling names 'MEEN'"),
    "a converter of one argument": (converter(target=lambda ctx: None), "target(model_class, ctx) does not match"),
    # --- kernels
    "a kernel without variant": (kernel("odd"), "its name 'odd' is not <op>.<variant>"),
    "a kernel on an unknown device": (kernel(devices=("gpu",)), "devices names 'gpu'"),
    "a kernel in an unknown dtype": (kernel(dtypes=("fp32",)), "dtypes names 'fp32'"),
    "a kernel of a misspelled op": (kernel("atention.fast"), "the op 'atention' is unknown to all other plugins"),
    "a kernel that cannot be asked": (kernel(available="odd:X"), "available='odd:X' raised AttributeError"),
    "a kernel whose question fails": (kernel(available="odd:fails"), "available='odd:fails' raised ZeroDivisionError"),
    "a kernel with another answer": (kernel(available="odd:maybe"), "available='odd:maybe' returned 0.5"),
    "a kernel asked with arguments": (kernel(available="odd:one"), "available() does not match"),
    "a kernel that fuses its own op": (kernel(fuses=("odd.fast",)), "fuses names 'odd.fast', of its own op"),
    "a kernel that fuses an unknown op": (kernel(fuses=("atention.fast",)), "'atention.fast', of an unknown op"),
    "a kernel with cases that are not there": (kernel(cases="odd:X"), "cases='odd:X' raised AttributeError"),
    "a kernel that is no function": (kernel(target=5), "which cannot be called"),
    # --- clusters, applications, dialects
    "a cluster that is not an option": (ClusterSpec(name="o d", target=len, summary="odd"), "cannot be an option"),
    "a cluster that does not run": (
        ClusterSpec(name="odd", target=len, summary="odd"),
        "lacks run",
    ),
    "an application that does not start": (
        ApplicationSpec(name="odd", target=len, summary="odd"),
        "lacks start and check_health",
    ),
    "a dialect that does not translate": (
        DialectSpec(name="odd", target=len, summary="odd"),
        "lacks translate and names",
    ),
    # --- sources, commands, routes
    "a source that is no function": (source(5), "which cannot be called"),
    "a source that is a class": (source(dict), "its target dict is a class"),
    "a source of one argument": (source(lambda name: None), "target(name, options) does not match"),
    "an async source": (source(handler), "its target is async"),
    "a source with a colon": (source(name="odd:"), "is not a valid scheme"),
    "a cache that is no function": (cache(5), "which cannot be called"),
    "a cache of two arguments": (cache(lambda address, size: None), "target(options) does not match"),
    "an async cache": (cache(handler_of_one), "its target is async"),
    "a cache with the name of a drive": (cache(name="C"), "is not a valid scheme"),
    "a command that is a function": (command(len), "not a typer.Typer"),
    "a command without commands": (command(typer.Typer()), "its typer.Typer has no command"),
    "a command that typer cannot read": (command(odd_command()), "typer cannot build its command"),
    "a command of two words": (command(name="odd thing"), "cannot be typed as a command"),
    "a command like an option": (command(name="--odd"), "cannot be typed as a command"),
    "a route without method": (route(name="/odd"), "its name '/odd' has no method"),
    "a route of another method": (route(name="FETCH /odd"), "has no method"),
    "a route without slash": (route(name="POST odd"), "its path 'odd' is invalid"),
    "a route with a broken parameter": (route(name="GET /odd/{id"), "has an invalid parameter"),
    "a route with a parameter twice": (route(name="GET /odd/{id}/{id:path}"), "its path lists 'id' 2 times"),
    "a route of an unknown task": (route(tasks=("embedd",)), "tasks names 'embedd'"),
    "a route with an unknown body": (route(body="text"), "body='text' is unknown"),
    "a route with a missing model": (route(request="odd:X"), "request='odd:X' raised AttributeError"),
    "a route with another model": (route(response="odd:Reader"), "response names <class"),
    "a route with other errors": (route(error="odd:Reader"), "error names <class"),
    "a route that is not async": (route(lambda request, llm: {}), "its target is not an async function"),
    "an executor that is no function": (executor(5), "which cannot be called"),
    "an executor without arguments": (executor(lambda: None), "target(setup) does not match"),
    "an async executor": (executor(handler_of_one), "its target is async"),
    "an executor without methods": (executor(type("E", (), {"__init__": lambda self, s: None})), "lacks submit, run"),
    # --- checkpoint formats, modules
    "a format without files": (checkpoint_format(files=()), "files are empty"),
    "a format of files elsewhere": (checkpoint_format(files=("../x.json",)), "is outside of the checkpoint"),
    "a format of two arguments": (checkpoint_format(lambda repository, config: None), "target(repository) does not"),
    "a format that is async": (checkpoint_format(handler_of_one), "its target is async"),
    "a module in an unknown place": (module(places=("behind",)), "places contains 'behind'"),
    "a sparse module before pooling": (module(places=("before",), sparse=True), "places lack 'after'"),
    "a module of an unknown size": (module(size="odd:X"), "size='odd:X' raised AttributeError"),
    "a module whose size takes one": (module(size="odd:one"), "size(config, size) does not match"),
    "a module of one argument": (module(lambda ctx: None), "target(ctx, config, weights) does not match"),
    "a route of one argument": (route(type("H", (), {"__call__": lambda self, request: None})()), "does not match"),
}


@pytest.mark.parametrize(("modality", "notes"), [("series", []), ("imgae", ["modalities names 'imgae'"])])
def test_modalities_of_a_plugin_are_allowed_and_misspelled_ones_noted(plugin_manager, modality, notes):
    entry = plugin_manager.registry.register(architecture(modalities=(modality,)), ACME)
    faults = [it for it in record_faults(plugin_manager.registry, entry) if "modalities" in it.reason]
    assert [it.reason for it in faults if it.is_note] == notes
    assert len(faults) == len(notes)


@pytest.mark.parametrize("fault", FAULTS)
def test_each_fault_of_a_record_is_found(plugin_manager, fault):
    record, words = FAULTS[fault]
    entry = plugin_manager.registry.register(record, ACME)
    faults = [it for it in record_faults(plugin_manager.registry, entry) if not it.is_note]
    assert any(words in it.reason for it in faults), faults
    assert all(it.fix for it in faults)
