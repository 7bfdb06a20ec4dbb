"""Records of golden files: the report of ``millpond inspect`` and results of a case, and their comparison."""

import json
import logging
import re
import tempfile
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from millpond import LLM, MillpondError, PoolingParams
from millpond.loading.arguments import read_arguments
from millpond.plugin.manager import PluginManager
from millpond.testing.pictures import picture
from millpond_cli.inspect.report import inspect_model

FOLDER = Path(__file__).parents[2] / "data" / "golden"
TEXT = "the old mill by the river, and a small cat"
TASKS = ("embed", "token_embed", "classify", "token_classify")
TOLERANCE = 1e-5  # relative to the largest value of a result if that is above 1: kernels differ in the last bits
REDUCED_TOLERANCE = 3e-2  # of models in a dtype of 16 bits
DIGITS = 6
MAX_VALUES = 32
MILLPOND_DEFAULT = "the default of Millpond"
PLUGINS = PluginManager(ranks=("builtin",), disabled=())

EXCLUDED = ("model", "path", "cache", "source", "space")  # they depend on this machine, or on the bits of the weights

Call = tuple[str, Sequence[Any], Mapping[str, Any]]


@dataclass(frozen=True, kw_only=True)
class Case:
    """A checkpoint with options, whose report and results are recorded.

    Attributes:
        write: The function that writes the checkpoint.
        options: The options of ``LLM``.
        calls: Methods of ``LLM`` with their arguments, by name; by default one for each task.
        folder: The name of the folder.
        quick: True if a quick test compares the case.
    """

    write: Callable[[Path], object]
    options: Mapping[str, Any] = field(default_factory=dict)
    calls: Mapping[str, Call] = field(default_factory=dict)
    folder: str = "model"
    quick: bool = False

    @property
    def tolerance(self) -> float:
        """The tolerance of results."""
        reduced = self.options.get("dtype", "float32") != "float32" or "quantization" in self.options
        return REDUCED_TOLERANCE if reduced else TOLERANCE


def record(case: Case) -> dict[str, Any]:
    """Write the checkpoint of a case, and return its report and its results."""
    with tempfile.TemporaryDirectory() as home:
        folder = Path(home) / case.folder
        case.write(folder)
        try:
            arguments = read_arguments(case.options)
        except MillpondError as error:
            return {"results": {"error": type(error).__name__}}
        report = inspect_model(PLUGINS.registry, str(folder), arguments)
        values = {**report.facts, "problems": report.problems, "notes": report.notes}
        facts = {key: value for key, value in values.items() if key not in EXCLUDED}
        facts["components"] = [f"{it['kind']} {it['name']} of {it['plugin']}" for it in facts["components"] or ()]
        facts["pooler"] = _short_pooler(facts["pooler"])
        recorded = {**facts, "results": _results(folder, case)}
        text = json.dumps(_without_distributions(recorded), default=str)
        without_folder = text.replace(json.dumps(str(folder))[1:-1], "MODEL")
        cleaned: dict[str, Any] = json.loads(re.sub(r"(?<=MODEL)[\\/]+", "/", without_folder))
        return cleaned


def _short_pooler(settings: Mapping[str, Any]) -> dict[str, Any]:
    defaults = {key: it["value"] for key, it in settings.items() if it["from"] == MILLPOND_DEFAULT}
    return {**{key: it for key, it in settings.items() if key not in defaults}, "defaults": defaults}


def _without_distributions(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: _without_distributions(item) for key, item in value.items() if key != "distribution"}
    return [_without_distributions(item) for item in value] if isinstance(value, list) else value


def _results(folder: Path, case: Case) -> dict[str, Any]:
    logging.disable(logging.WARNING)
    try:
        with LLM(str(folder), plugins=PLUGINS, num_workers=1, **case.options) as llm:
            return {name: _result(llm, call) for name, call in (case.calls or default_calls(llm)).items()}
    except MillpondError as error:
        return {"error": type(error).__name__}
    finally:
        logging.disable(logging.NOTSET)


def default_calls(llm: LLM) -> dict[str, Call]:
    """Return a call of each task of a model."""
    calls: dict[str, Call] = {
        task: ("encode", (TEXT,), {"pooling_task": task, "pooling_params": {"truncate_prompt_tokens": -1}})
        for task in TASKS
        if task in llm.model_config.tasks
    }
    if "score" in llm.supported_tasks:
        calls["score"] = ("score", ("a cat", "the mill"), {})
    if "image" in llm.model_config.multimodal.modalities and calls:
        first = next(iter(calls))
        calls["image"] = ("encode", ({"multi_modal_data": {"image": picture(40, 30)}},), {"pooling_task": first})
    return calls


def outputs_of(llm: LLM, call: Call) -> Any:
    """Return the outputs of a call."""
    method, arguments, options = call
    named = {key: PoolingParams(**it) if key == "pooling_params" else it for key, it in options.items()}
    return getattr(llm, method)(*arguments, use_tqdm=False, **named)


def _result(llm: LLM, call: Call) -> Any:
    try:
        outputs = outputs_of(llm, call)
    except MillpondError as error:
        return {"error": type(error).__name__}
    return [_output(output) for output in outputs]


def _output(output: Any) -> dict[str, Any]:
    result = output.outputs
    ids = list(output.prompt_token_ids or ())
    if hasattr(result, "score"):
        return {"ids": ids, "values": [_rounded(result.score)]}
    if hasattr(result, "indices"):
        indices, values = result.indices.tolist(), np.asarray(result.values).tolist()
        return {"ids": ids, "indices": indices[:MAX_VALUES], "values": [_rounded(it) for it in values[:MAX_VALUES]]}
    array = np.asarray(result.array, dtype=np.float64)
    flat = array.ravel().tolist()
    values = flat if len(flat) <= MAX_VALUES else [*flat[: MAX_VALUES // 2], *flat[-MAX_VALUES // 2 :]]
    mean = [_rounded(float(array.mean()))] if flat else []
    return {"ids": ids, "shape": list(array.shape), "values": [*map(_rounded, values), *mean]}


def _rounded(value: float) -> float:
    return float(f"{value:.{DIGITS}g}")


def differences(actual: Any, golden: Any, tolerance: float, path: str = "") -> Iterator[str]:
    """Yield each difference between two records, with its path."""
    if isinstance(actual, dict) and isinstance(golden, dict):
        for key in {**golden, **actual}:
            where = f"{path}.{key}" if path else key
            if key not in actual or key not in golden:
                yield f"{where}: {'added' if key in actual else 'removed'}"
            elif key == "values" and _are_close(actual[key], golden[key], tolerance):
                continue
            else:
                yield from differences(actual[key], golden[key], tolerance, where)
    elif isinstance(actual, list) and isinstance(golden, list) and len(actual) == len(golden):
        for index, pair in enumerate(zip(actual, golden, strict=True)):
            yield from differences(*pair, tolerance, f"{path}[{index}]")
    elif actual != golden:
        yield f"{path}: {json.dumps(golden)} became {json.dumps(actual)}"


def _are_close(actual: list[float], golden: list[float], tolerance: float) -> bool:
    if len(actual) != len(golden) or not golden:
        return actual == golden
    largest = max(1.0, *map(abs, golden))
    return bool(np.allclose(actual, golden, rtol=0, atol=tolerance * largest))


def read_group(name: str) -> dict[str, Any]:
    """Return the records of a group by case; empty for a new group."""
    path = FOLDER / f"{name}.json"
    records: dict[str, Any] = json.loads(path.read_text(encoding="utf-8")) if path.exists() else {}
    return records


def write_group(name: str, records: Mapping[str, Any]) -> None:
    """Write the records of a group with one fact per line, so that changes are readable."""
    cases = []
    for case, facts in records.items():
        lines = [f"  {json.dumps(key)}: {_compact(value)}" for key, value in facts.items() if key != "results"]
        results = [f"   {json.dumps(key)}: {_compact(value)}" for key, value in facts["results"].items()]
        lines.append('  "results": {\n' + ",\n".join(results) + "\n  }")
        cases.append(f" {json.dumps(case)}: {{\n" + ",\n".join(lines) + "\n }")
    FOLDER.mkdir(parents=True, exist_ok=True)
    (FOLDER / f"{name}.json").write_text("{\n" + ",\n".join(cases) + "\n}\n", encoding="utf-8")


def _compact(value: Any) -> str:
    return json.dumps(value, ensure_ascii=False, separators=(", ", ": "))
