"""Measure the size of the sources, and the files and function calls of typical operations.

python benchmarks/structure.py [--model MODEL] [--json]

Counts lines, files per folder and fields of records, and traces three operations with a profile function:
``LLM(model)``, ``LLM.embed`` of one text, and ``POST /v1/embeddings``. Only functions of Millpond are counted.
"""

import argparse
import ast
import json
import sys
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from statistics import median, quantiles
from types import FrameType
from typing import Any

REPOSITORY = Path(__file__).resolve().parents[1]
ROOTS = ("core", "plugins", "builtin_models", "builtin_poolers", "io_processors", "kernels")
CORE, TESTING = REPOSITORY / "core" / "millpond", REPOSITORY / "core" / "millpond" / "testing"
MODEL = "all-MiniLM-L6-v2"
TEXT = "the mill by the pond turns slowly in the wind"
WARM_UP_CALLS = 5
TIMED_CALLS = 300
MS_PER_SECOND = 1e3
P90_INDEX = 8  # among the nine cut points of ten equal groups


@dataclass
class Trace:
    """The function calls of an operation.

    Attributes:
        files: The files of the called functions.
        calls: The number of calls of Python functions.
        changes: The number of calls whose file differs from that of the previous call in the same thread.
    """

    files: set[str] = field(default_factory=set)
    calls: int = 0
    changes: int = 0

    def figures(self) -> dict[str, int]:
        """Return the numbers of files, changes and calls."""
        return {"files": len(self.files), "changes": self.changes, "calls": self.calls}


class Tracer:
    """A profile function that records calls of functions of Millpond in all threads."""

    def __init__(self) -> None:
        self._trace: Trace | None = None
        self._last: dict[int, str] = {}
        self._is_ours: dict[str, bool] = {}
        self._prefixes = tuple(str(REPOSITORY / root) for root in ROOTS)
        threading.setprofile(self._record)

    @contextmanager
    def trace(self) -> Iterator[Trace]:
        """Record calls in the block; threads that were started before the tracer are not included."""
        self._trace, self._last = Trace(), {}
        sys.setprofile(self._record)
        try:
            yield self._trace
        finally:
            sys.setprofile(None)
            self._trace = None

    def _record(self, frame: FrameType, event: str, _: object) -> None:
        trace, name = self._trace, frame.f_code.co_filename
        if trace is None or event != "call":
            return
        ours = self._is_ours.get(name)
        if ours is None:
            ours = self._is_ours[name] = name.startswith(self._prefixes)
        if not ours:
            return
        trace.calls += 1
        trace.files.add(name)
        thread = threading.get_ident()
        if self._last.get(thread) != name:
            trace.changes += 1
            self._last[thread] = name


def sources(folder: Path) -> list[Path]:
    """Return the Python files below a folder."""
    return sorted(path for path in folder.rglob("*.py") if "__pycache__" not in path.parts)


def core_sources() -> list[Path]:
    """Return the files of the core without the package for tests."""
    return [path for path in sources(CORE) if not path.is_relative_to(TESTING)]


def num_code_lines(path: Path) -> int:
    """Return the number of lines of a file that contain code: without docstrings, comments and blank lines."""
    text = path.read_text(encoding="utf-8")
    lines = {
        number for number, line in enumerate(text.splitlines(), 1) if line.strip() and not line.lstrip().startswith("#")
    }
    for node in ast.walk(ast.parse(text)):
        if isinstance(node, ast.Expr) and isinstance(node.value, ast.Constant) and isinstance(node.value.value, str):
            lines.difference_update(range(node.lineno, (node.end_lineno or node.lineno) + 1))
    return len(lines)


def num_lines(path: Path) -> int:
    """Return the number of lines of a file."""
    return len(path.read_text(encoding="utf-8").splitlines())


def sizes() -> dict[str, Any]:
    """Return the lines of the core, the files per folder, and the lengths of files and functions."""
    paths = [path for root in ROOTS for path in sources(REPOSITORY / root) if not path.is_relative_to(TESTING)]
    folders = Counter(path.parent for path in paths if path.name != "__init__.py")
    lengths = [num_lines(path) for path in paths]
    functions = [length for path in paths for length in function_lengths(path)]
    largest_folder, files = folders.most_common(1)[0]
    return {
        "core_lines": sum(num_lines(path) for path in core_sources()),
        "core_code_lines": sum(map(num_code_lines, core_sources())),
        "files_in_a_folder": files,
        "largest_folder": largest_folder.relative_to(REPOSITORY).as_posix(),
        "median_file": int(median(lengths)),
        "longest_file": max(lengths),
        "function_p90": int(quantiles(functions, n=10)[P90_INDEX]),
    }


def function_lengths(path: Path) -> Iterator[int]:
    """Yield the number of lines of each function of a file, docstring included."""
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            yield (node.end_lineno or node.lineno) - node.lineno + 1


def records() -> dict[str, int]:
    """Return the number of fields of the largest dataclasses and pydantic models of the core, by name."""
    counts: Counter[str] = Counter()
    for path in core_sources():
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(node, ast.ClassDef) and is_record(node):
                counts[node.name] = sum(isinstance(line, ast.AnnAssign) for line in node.body)
    return dict(counts.most_common(5))


def is_record(node: ast.ClassDef) -> bool:
    """Return True for a dataclass or a pydantic model."""
    decorators = {ast.unparse(it).partition("(")[0] for it in node.decorator_list}
    return "dataclass" in decorators or any(ast.unparse(base) == "BaseModel" for base in node.bases)


def traces(model: str) -> dict[str, Any]:
    """Return the figures of the three operations, and the Python time of a short text."""
    tracer = Tracer()  # before other threads are started
    from millpond import LLM  # noqa: PLC0415  the import is not traced

    with LLM(model):
        pass  # imports and caches are not traced
    with tracer.trace() as loading:
        llm = LLM(model)
    with llm:
        for _ in range(WARM_UP_CALLS):
            llm.embed(TEXT, use_tqdm=False)
        with tracer.trace() as embedding:
            llm.embed(TEXT, use_tqdm=False)
        threading.setprofile(None)
        milliseconds = python_time(llm)
    return {
        "LLM(model)": loading.figures(),
        "LLM.embed, one text": embedding.figures(),
        "POST /v1/embeddings": trace_request(model).figures(),
        "python_ms_of_a_short_text": round(milliseconds, 3),
    }


def python_time(llm: Any) -> float:
    """Return the median milliseconds of one short text without the forward pass of the model."""
    forward = llm._loaded.model.forward  # noqa: SLF001  no public access to the model
    inside: list[float] = []

    def timed(batch: Any) -> Any:
        start = time.perf_counter()
        result = forward(batch)
        inside[-1] += time.perf_counter() - start
        return result

    llm._loaded.model.forward = timed  # noqa: SLF001
    outside: list[float] = []
    for _ in range(TIMED_CALLS):
        inside.append(0.0)
        start = time.perf_counter()
        llm.embed(TEXT, use_tqdm=False)
        outside.append(time.perf_counter() - start - inside[-1])
    return median(outside) * MS_PER_SECOND


def trace_request(model: str) -> Trace:
    """Trace one request to a server in this process."""
    tracer = Tracer()
    from millpond_server.testing import running_server  # noqa: PLC0415  needs starlette

    with running_server(model) as server:

        def send_request() -> None:
            response = server.request("POST", "/v1/embeddings", json={"input": [TEXT]})
            if response.status != 200:  # noqa: PLR2004
                raise RuntimeError(response.text)

        for _ in range(WARM_UP_CALLS):
            send_request()
        with tracer.trace() as trace:
            sys.setprofile(None)  # the client is not traced
            send_request()
    threading.setprofile(None)
    return trace


TARGETS: tuple[tuple[str, Callable[[dict[str, Any]], Any], str], ...] = (
    ("core without testing, lines", lambda it: it["sizes"]["core_lines"], "9,000"),
    ("core without testing, lines of code", lambda it: it["sizes"]["core_code_lines"], "-"),
    ("files per folder, maximum", lambda it: it["sizes"]["files_in_a_folder"], "20"),
    ("fields of a record, maximum", lambda it: max(it["records"].values()), "12"),
    (
        "LLM.embed, one text: files / changes / calls",
        lambda it: _trace_figures(it, "LLM.embed, one text"),
        "25 / 90 / 160",
    ),
    (
        "POST /v1/embeddings: files / changes / calls",
        lambda it: _trace_figures(it, "POST /v1/embeddings"),
        "45 / - / 380",
    ),
    ("LLM(model): files / changes / calls", lambda it: _trace_figures(it, "LLM(model)"), "60 / - / 3,000"),
    (
        "median file / longest file / function p90",
        lambda it: " / ".join(str(it["sizes"][name]) for name in ("median_file", "longest_file", "function_p90")),
        "110 / 400 / 20",
    ),
    ("Python time of one short text, ms", lambda it: it["traces"]["python_ms_of_a_short_text"], "0.30"),
)


def _trace_figures(result: dict[str, Any], name: str) -> str:
    return " / ".join(f"{number:,}" for number in result["traces"][name].values())


def main() -> None:
    """Print the figures as a table or as JSON."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--model", default=MODEL)
    parser.add_argument("--json", action="store_true", dest="as_json")
    options = parser.parse_args()
    result = {"sizes": sizes(), "records": records(), "traces": traces(options.model)}
    if options.as_json:
        print(json.dumps(result, indent=2))
        return
    print(f"| {'':46} | {'current':>20} | {'target':>16} |\n|{'-' * 48}|{'-' * 21}:|{'-' * 17}:|")
    for label, figure, target in TARGETS:
        value = figure(result)
        print(f"| {label:46} | {f'{value:,}' if isinstance(value, int) else value:>20} | {target:>16} |")
    print(f"\nlargest folder: {result['sizes']['largest_folder']}; largest records: {result['records']}")


if __name__ == "__main__":
    main()
