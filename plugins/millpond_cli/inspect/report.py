"""The report of ``millpond inspect``: settings of a model, their origins, and conflicts. Does not import torch."""

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from fnmatch import fnmatchcase
from pathlib import Path
from typing import Any

from millpond.loading.arguments import Arguments
from millpond.loading.components import computing_entries, runtime_refusal
from millpond.model.config_source import ConfigSource, read_config
from millpond.model.layers import Layers
from millpond.model.lengths import stated_lengths
from millpond.model.model_layers import ModelLayers
from millpond.model.options import override_config
from millpond.model.repository import Repository
from millpond.model.resolve import read_layers
from millpond.model.source import find_repository
from millpond.model.spec import ModuleSettings, RouteSettings, StatedLength
from millpond.pipeline.cache import read_cache_setting
from millpond.plugin.registry import Entry, Origin, Registry
from millpond.plugin.specs import ArchitectureSpec
from millpond.types.config import CheckpointConfig
from millpond.types.errors import MillpondError
from millpond_checkpoints.foreign_reading import check_foreign_reading
from millpond_checkpoints.space import space_of
from millpond_cli.inspect.components import component_records
from millpond_cli.inspect.pooling import (
    EMBEDDING_TASKS,
    ORIGINS,
    PoolingReport,
    notes_on_prompts,
    prompts_of,
    published_settings,
)
from millpond_cli.inspect.weight_files import check_module_weights, weights_of

COSINE = "cosine"
DENSE = "Dense"
PRELU = "prelu"  # has parameters, so it is part of the module and not a plugin's activation
UNKNOWN = Entry(
    spec=ArchitectureSpec(name="unknown", target=object(), tasks=()), origin=Origin(plugin="unknown", rank="builtin")
)
NO_LIMIT_FROM = 10**9  # files contain numbers such as 1e30 for "no limit"
TOKENIZER_FILES = ("tokenizer.json", "vocab.txt", "vocab.json", "tokenizer.model", "spiece.model")


@dataclass
class Report:
    """Facts about a model.

    Attributes:
        facts: The settings, as JSON values.
        problems: The reasons why the model cannot be served; empty if it can.
        notes: Contradictions between files, and settings that are ignored.
    """

    facts: dict[str, Any] = field(default_factory=dict)
    problems: list[str] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)

    def attempt(self, function: Callable[[], Any]) -> Any:
        """Call a function and return its result; if it fails, add its error to the problems and return None."""
        try:
            return function()
        except MillpondError as error:
            if str(error) not in self.problems:  # one file can cause several errors
                self.problems.append(str(error))
            return None


def inspect_model(registry: Registry, model: str, arguments: Arguments) -> Report:
    """Return a report on a model.

    Raises:
        ModelNotFoundError: No source has the model.
    """
    repository = find_repository(registry, model, arguments.source)
    report = Report({"model": model, "source": repository.source, "path": str(repository.path)})
    layers: ModelLayers | None = report.attempt(lambda: _resolved(registry, repository, arguments))
    config: CheckpointConfig | None = report.attempt(
        lambda: override_config(repository.config, arguments.load.hf_overrides)
    )
    _Inspection(report, registry, repository, config, layers, arguments).run()
    return report


def _resolved(registry: Registry, repository: Repository, arguments: Arguments) -> ModelLayers:
    layers = read_layers(registry, repository, arguments.load)
    _ = layers.model  # what cannot be resolved is an error of this step
    return layers


@dataclass(frozen=True)
class _Inspection:
    """Collects the facts on each part of a model; ``config`` and ``layers`` are None if they could not be read."""

    report: Report
    registry: Registry
    repository: Repository
    config: CheckpointConfig | None
    layers: ModelLayers | None
    arguments: Arguments

    def run(self) -> None:
        facts, attempt = self.report.facts, self.report.attempt
        facts["architecture"] = self._architecture()
        facts["implementation"] = None if self.layers is None else self.layers.implementation
        facts["modalities"] = None if self.layers is None else list(self.layers.architecture.spec.modalities)
        facts["converter"] = self._converter()
        facts["known"] = attempt(lambda: published_settings(self.repository))
        pooling = None if self.layers is None else PoolingReport(self.registry, self.layers, attempt)
        facts["tasks"] = attempt(lambda: self._tasks(pooling))
        facts["pooler"] = {} if pooling is None else pooling.pooler()
        facts["classes"] = None if pooling is None else pooling.classes()
        facts["io_processor"] = None if pooling is None else pooling.io_processor()
        facts["embedding_size"] = None if pooling is None else pooling.embedding_size()
        facts["truncate_dim"] = None if pooling is None else pooling.truncate_dim()
        facts["routes"] = attempt(self._routes)
        facts["messages"] = attempt(self._messages)
        facts["matryoshka"] = None if pooling is None else pooling.matryoshka(self.arguments.load.hf_overrides)
        facts["dense"] = attempt(self._dense)
        facts["max_model_len"] = attempt(self._lengths)
        facts["tokenizer"] = attempt(self._tokenizer)
        facts["components"] = attempt(self._components)
        facts["prompts"] = attempt(self._prompts)
        facts["adapters"] = attempt(self._adapters)
        facts["similarity"] = attempt(self._similarity)
        facts["dtype"] = attempt(self._dtype)
        facts["weights"] = attempt(self._weights)
        facts["space"] = attempt(self._space)
        facts["cache"] = attempt(self._cache)
        facts["remote_code"] = attempt(self._remote_code)

    def _architecture(self) -> dict[str, Any] | None:
        if self.config is None:
            return None
        named = {"stated": self.config.get("architectures"), "model_type": self.config.get("model_type")}
        if self.layers is None:
            return {"name": None, "plugin": None, "distribution": None, "summary": None, **named}
        entry = self.layers.architecture
        return {**_provider(entry), "summary": entry.spec.summary, **named}

    def _converter(self) -> dict[str, Any] | None:
        if self.layers is None or self.layers.converter is None:
            return None
        spec, names = self.layers.converter.spec, self.layers.config.get("architectures") or ()
        fits = [pattern for pattern in spec.architectures if any(fnmatchcase(str(name), pattern) for name in names)]
        if self.arguments.load.convert != "auto":
            why = f"requested by {ORIGINS['user']}"
        elif fits:
            why = f"for {max(fits, key=len)}"
        else:
            task = self.layers.find("files.task")
            why = "for the files" if task is None else f"for {task.origin('files.task')}"
        return {**_provider(self.layers.converter), "tasks": list(spec.tasks), "why": why}

    def _components(self) -> list[dict[str, Any]]:
        if self.layers is None:
            return []
        facts = self.report.facts
        return component_records(self.layers, facts["tasks"] or (), facts["dense"] or ())

    def _tasks(self, pooling: PoolingReport | None) -> list[dict[str, Any]]:
        if pooling is None:
            return []
        if not pooling.layers.tasks:
            self.report.problems.append("the architecture supports no task, and no converter adds one")
        return pooling.tasks()

    def _messages(self) -> dict[str, Any] | None:
        """Return the message format of texts and its origin; None if texts are not formatted as messages."""
        template, path = self.repository.reader.chat_template(), "text.message_format"
        if template is None or template.texts_as is None:
            return None
        return {"format": template.texts_as, "from": self.repository.layers.origin(path)}

    def _routes(self) -> list[dict[str, Any]] | None:
        """Return the route of each input type with its modules; None if there is only one route."""
        stated: RouteSettings | None = self.repository.layers.get("files.routes")
        if stated is None:
            return None
        routes = stated.by_input_type
        named = {name: replace(self.repository, route=name).layers.get("modules.listed") for name in routes.values()}
        return [
            {"input_type": input_type, "route": name, "modules": [module.type for module in named[name]]}
            for input_type, name in routes.items()
        ]

    def _dense(self) -> list[dict[str, Any]]:
        modules = self.repository.layers.get("modules.after", ())
        return [self._dense_layer(module) for module in modules if module.type == DENSE]

    def _dense_layer(self, module: ModuleSettings) -> dict[str, Any]:
        dotted = str(module.config.get("activation_function") or "identity")
        name = dotted.rpartition(".")[2].lower()
        if name != PRELU:
            self.report.attempt(lambda: self.registry.activations.get(name))
        self.report.attempt(lambda: check_module_weights(module, allow_pickle=self.arguments.load.allow_pickle))
        return {
            "folder": self._relative(module.path),
            "in_features": module.config.get("in_features"),
            "out_features": module.config.get("out_features"),
            "activation": dotted,
        }

    def _lengths(self) -> dict[str, Any]:
        path = "max_model_len"
        value = None if self.layers is None else self.layers.model.max_model_len
        origin = None if self.layers is None else self.layers.origin(path)
        lengths = (*stated_lengths(self._stated()), *self._truncation())
        stated = [
            {
                "value": it.value,
                "file": it.file,
                "key": it.key,
                "counts": str(it) == origin,
            }
            for it in lengths
        ]
        if value is not None and origin is not None and len({it.value for it in lengths}) > 1:
            layer = None if self.layers is None else self.layers.find(path)
            values, is_request = sorted({it.value for it in lengths}), layer is not None and layer.is_request
            self.report.notes.append(_note_on_length(value, origin, values, is_request=is_request))
        return {"value": value, "from": ORIGINS.get(origin or "", origin), "stated": stated}

    def _truncation(self) -> Iterator[StatedLength]:
        """Yield the maximum length in tokenizer.json, which models ignore."""
        truncation = self.repository.reader.tokenizer_settings["truncation"]
        value = truncation.get("max_length") if isinstance(truncation, dict) else None
        if isinstance(value, int) and 0 < value < NO_LIMIT_FROM:
            yield StatedLength(value, TOKENIZER_FILES[0], "truncation.max_length")

    def _stated(self) -> Layers:
        """The layers of the model; without an architecture, those of its files."""
        if self.layers is not None or self.config is None:
            return self.layers or self.repository.layers
        source = ConfigSource(repository=self.repository, config=self.config, stored=self.config, architecture=UNKNOWN)
        return Layers((*read_config(self.registry, source), *self.repository.layers))

    def _tokenizer(self) -> dict[str, Any]:
        folder = self.repository.transformer_path
        file = next((name for name in TOKENIZER_FILES if (folder / name).exists()), None)
        contents = self.repository.reader.tokenizer_settings
        if file not in (None, TOKENIZER_FILES[0]):  # transformers converts it when the model is loaded
            self.report.attempt(lambda: check_foreign_reading(folder, recursive=False))
        modalities = () if self.layers is None else self.layers.architecture.spec.modalities
        if file is None and (self.layers is None or "text" in modalities):
            self.report.notes.append(f"{TOKENIZER_FILES[0]} is missing: the model accepts token ids only, not texts")
        for key in ("padding", "truncation"):
            if contents.get(key):
                self.report.notes.append(f"the {key} of tokenizer.json ({_brief(contents[key])}) is ignored")
        return {
            "file": file,
            "class": self.repository.reader.tokenizer_config.get("tokenizer_class"),
            "padding": contents.get("padding"),
            "truncation": contents.get("truncation"),
            "lower_case": self.repository.layers.get("text.lower_case", default=False),
        }

    def _prompts(self) -> dict[str, Any]:
        layers: Layers = self.repository.layers if self.layers is None else self.layers
        self.report.notes.extend(notes_on_prompts(layers))
        return prompts_of(layers)

    def _adapters(self) -> list[str] | None:
        names = () if self.layers is None else self.layers.model.prompting.adapters
        return [*names] or None

    def _similarity(self) -> str | None:
        if self.layers is None or not set(self.layers.tasks) & set(EMBEDDING_TASKS):
            return None
        model = self.layers.model
        if "embed" not in model.tasks or model.pooler_config.task == "token_embed":
            return model.retrieval.late_similarity
        chosen = model.embedding.similarity
        if chosen != COSINE:
            origin = self.layers.origin("embedding.similarity")
            self.report.notes.append(
                f"`score` and `rerank` use the similarity {chosen!r}, from {origin}; `similarity` always uses the "
                "cosine"
            )
        return chosen

    def _dtype(self) -> dict[str, Any] | None:
        if self.config is None:
            return None
        layers = self._stated()
        origin = layers.origin("dtype")
        return {"value": layers.get("dtype"), "from": ORIGINS.get(origin, origin)}

    def _weights(self) -> dict[str, Any]:
        return weights_of(self.repository.transformer_path, allow_pickle=self.arguments.load.allow_pickle)

    def _space(self) -> dict[str, Any] | None:
        if self.layers is None or self.report.problems or not set(self.layers.tasks) & set(EMBEDDING_TASKS):
            return None
        return space_of(self.layers.model, self.arguments.load.inputs).descriptor

    def _cache(self) -> dict[str, Any] | None:
        choice = read_cache_setting(self.registry, self.arguments.cache, self.arguments.cache_size)
        if choice is None:
            return None
        spec = choice.entry.spec
        if spec.persistent and self.layers is not None:
            refusal = runtime_refusal(computing_entries(self.layers))
            if refusal is not None:
                self.report.problems.append(f"cache={spec.name!r} is used by other processes: {refusal}")
        return {
            **_provider(choice.entry),
            "summary": spec.summary,
            "address": choice.address,
            "max_bytes": choice.max_bytes,
            "persistent": spec.persistent,
        }

    def _remote_code(self) -> list[dict[str, str]]:
        records = [*self._custom_code()]
        if records:
            self.report.notes.append("the files of the model specify custom code; it is not run")
        return records

    def _custom_code(self) -> Iterator[dict[str, str]]:
        configs: dict[str, Mapping[str, Any]] = {"tokenizer_config.json": self.repository.reader.tokenizer_config}
        if self.config is not None:
            configs["config.json"] = self.config
        for file, config in sorted(configs.items()):
            auto_map = config.get("auto_map")
            for key, value in dict(auto_map).items() if isinstance(auto_map, Mapping) else ():
                yield {"file": file, "key": f"auto_map.{key}", "names": str(value)}
        for module in self.repository.layers.get("modules.listed", ()):
            if "." in module.type:  # the types of known modules have no package prefix
                yield {"file": "modules.json", "key": self._relative(module.path), "names": module.type}

    def _relative(self, path: Path) -> str:
        return path.relative_to(self.repository.path).as_posix()


def _provider(entry: Entry[Any]) -> dict[str, Any]:
    origin = entry.origin
    distribution = f"{origin.distribution} {origin.version}".strip()
    return {"name": entry.spec.name, "plugin": origin.plugin, "distribution": distribution or None}


def _note_on_length(chosen: int, origin: str, values: list[int], *, is_request: bool) -> str:
    stated = f"the files specify {', '.join(map(str, values[:-1]))} and {values[-1]} tokens"
    if is_request:
        return f"{stated}; {ORIGINS.get(origin, origin)} overrides them"
    if "max_seq_length" in origin:
        return f"{stated}; {chosen} is used, because max_seq_length of sentence-transformers takes precedence"
    return f"{stated}; {chosen} is used, the minimum of config.json and tokenizer_config.json"


def _brief(setting: Any) -> str:
    """Return the length in tokenizer.json's padding or truncation: ``Fixed 128``, ``max_length 128``."""
    if not isinstance(setting, dict):
        return str(setting)
    if "max_length" in setting:
        return f"max_length {setting['max_length']}"
    strategy = setting.get("strategy")
    if isinstance(strategy, dict):
        return ", ".join(f"{name} {value}" for name, value in strategy.items())
    return str(strategy)
