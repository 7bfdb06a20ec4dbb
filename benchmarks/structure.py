"""How large is the core, how full are its folders, and how far does a call travel through the files?

python benchmarks/structure.py [--model MODEL] [--json]

Counts lines, files of a folder and fields of records in the sources; then follows three trips with a profile function:
``LLM(model)``, ``LLM.embed`` of one text, and ``POST /v1/embeddings``. Only functions of Millpond's own files count.
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
MILLI = 1e3
NINTH_DECILE = 8  # among the nine cut points of ten equal groups


@dataclass
class Trip:
    """What a call passes through.

    Attributes:
        files: The files whose functions were called.
        calls: The number of calls of Python functions.
        changes: How often a call was in another file than the one before, thread by thread.
    """

    files: set[str] = field(default_factory=set)
    calls: int = 0
    changes: int = 0

    def figures(self) -> dict[str, int]:
        """The numbers."""
        return {"files": len(self.files), "changes": self.changes, "calls": self.calls}


class Follower:
    """A profile function that notes the calls of functions in our files while it is switched on, in all threads."""

    def __init__(self) -> None:
        self._trip: Trip | None = None
        self._last: dict[int, str] = {}
        self._is_ours: dict[str, bool] = {}
        self._prefixes = tuple(str(REPOSITORY / root) for root in ROOTS)
        threading.setprofile(self._note)

    @contextmanager
    def trip(self) -> Iterator[Trip]:
        """Follow what happens inside of the block; threads that were started before the follower are not seen."""
        self._trip, self._last = Trip(), {}
        sys.setprofile(self._note)
        try:
            yield self._trip
        finally:
            sys.setprofile(None)
            self._trip = None

    def _note(self, frame: FrameType, event: str, _: object) -> None:
        trip, name = self._trip, frame.f_code.co_filename
        if trip is None or event != "call":
            return
        ours = self._is_ours.get(name)
        if ours is None:
            ours = self._is_ours[name] = name.startswith(self._prefixes)
        if not ours:
            return
        trip.calls += 1
        trip.files.add(name)
        thread = threading.get_ident()
        if self._last.get(thread) != name:
            trip.changes += 1
            self._last[thread] = name


def sources(folder: Path) -> list[Path]:
    """The Python files below a folder."""
    return sorted(path for path in folder.rglob("*.py") if "__pycache__" not in path.parts)


def num_lines(path: Path) -> int:
    """The lines of a file."""
    return len(path.read_text(encoding="utf-8").splitlines())


def sizes() -> dict[str, Any]:
    """Lines of the core, files of a folder, lengths of files and functions."""
    ours = [path for root in ROOTS for path in sources(REPOSITORY / root)]
    outside = [path for path in ours if not path.is_relative_to(TESTING)]
    folders = Counter(path.parent for path in outside if path.name != "__init__.py")
    lengths = [num_lines(path) for path in outside]
    functions = [length for path in outside for length in function_lengths(path)]
    fullest, files = folders.most_common(1)[0]
    return {
        "core_lines": sum(num_lines(path) for path in sources(CORE) if not path.is_relative_to(TESTING)),
        "files_in_a_folder": files,
        "fullest_folder": fullest.relative_to(REPOSITORY).as_posix(),
        "median_file": int(median(lengths)),
        "longest_file": max(lengths),
        "function_p90": int(quantiles(functions, n=10)[NINTH_DECILE]),
    }


def function_lengths(path: Path) -> Iterator[int]:
    """The lines of each function of a file, with its docstring."""
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            yield (node.end_lineno or node.lineno) - node.lineno + 1


def records() -> dict[str, int]:
    """The dataclasses and pydantic models of the core with the most fields, by their names."""
    counts: Counter[str] = Counter()
    for path in sources(CORE):
        if path.is_relative_to(TESTING):
            continue
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(node, ast.ClassDef) and is_record(node):
                counts[node.name] = sum(isinstance(line, ast.AnnAssign) for line in node.body)
    return dict(counts.most_common(5))


def is_record(node: ast.ClassDef) -> bool:
    """True for a dataclass, or a class with a pydantic base."""
    decorators = {ast.unparse(it).partition("(")[0] for it in node.decorator_list}
    return "dataclass" in decorators or any(ast.unparse(base) == "BaseModel" for base in node.bases)


def trips(model: str) -> dict[str, Any]:
    """The three trips, and the Python time of a short text."""
    follower = Follower()  # first: threads that are started before it are not seen
    from millpond import LLM  # noqa: PLC0415  its import is no part of a trip

    with LLM(model):
        pass  # what is imported and cached once is no part of the trip
    with follower.trip() as loading:
        llm = LLM(model)
    with llm:
        for _ in range(WARM_UP_CALLS):
            llm.embed(TEXT, use_tqdm=False)
        with follower.trip() as embedding:
            llm.embed(TEXT, use_tqdm=False)
        threading.setprofile(None)
        milliseconds = python_time(llm)
    return {
        "LLM(model)": loading.figures(),
        "LLM.embed, one text": embedding.figures(),
        "POST /v1/embeddings": request_trip(model).figures(),
        "python_ms_of_a_short_text": round(milliseconds, 3),
    }


def python_time(llm: Any) -> float:
    """The median milliseconds of one short text outside of the forward pass of the model."""
    forward = llm._loaded.model.forward  # noqa: SLF001  the forward has no public place to be timed at
    inside: list[float] = []

    def timed(batch: Any) -> Any:
        begin = time.perf_counter()
        result = forward(batch)
        inside[-1] += time.perf_counter() - begin
        return result

    llm._loaded.model.forward = timed  # noqa: SLF001
    outside: list[float] = []
    for _ in range(TIMED_CALLS):
        inside.append(0.0)
        begin = time.perf_counter()
        llm.embed(TEXT, use_tqdm=False)
        outside.append(time.perf_counter() - begin - inside[-1])
    return median(outside) * MILLI


def request_trip(model: str) -> Trip:
    """The trip of one request, through a server in this process."""
    follower = Follower()
    from millpond_server.testing import running_server  # noqa: PLC0415  needs starlette

    with running_server(model) as server:

        def ask() -> None:
            answer = server.request("POST", "/v1/embeddings", json={"input": [TEXT]})
            if answer.status != 200:  # noqa: PLR2004
                raise RuntimeError(answer.text)

        for _ in range(WARM_UP_CALLS):
            ask()
        with follower.trip() as trip:
            sys.setprofile(None)  # the client's side is not part of it
            ask()
    threading.setprofile(None)
    return trip


AIMS: tuple[tuple[str, Callable[[dict[str, Any]], Any], str], ...] = (
    ("core without testing, lines", lambda it: it["sizes"]["core_lines"], "9,000"),
    ("files in one folder, at most", lambda it: it["sizes"]["files_in_a_folder"], "20"),
    ("fields of a record, at most", lambda it: max(it["records"].values()), "12"),
    ("LLM.embed, one text: files / changes / calls", lambda it: _trip(it, "LLM.embed, one text"), "25 / 90 / 160"),
    ("POST /v1/embeddings: files / changes / calls", lambda it: _trip(it, "POST /v1/embeddings"), "45 / - / 380"),
    ("LLM(model): files / changes / calls", lambda it: _trip(it, "LLM(model)"), "60 / - / 3,000"),
    (
        "median file / longest file / function p90",
        lambda it: " / ".join(str(it["sizes"][name]) for name in ("median_file", "longest_file", "function_p90")),
        "110 / 400 / 20",
    ),
    ("Python time of one short text, ms", lambda it: it["trips"]["python_ms_of_a_short_text"], "0.30"),
)


def _trip(result: dict[str, Any], name: str) -> str:
    return " / ".join(f"{number:,}" for number in result["trips"][name].values())


def main() -> None:
    """Print the table, or all of it as JSON."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--model", default=MODEL)
    parser.add_argument("--json", action="store_true", dest="as_json")
    given = parser.parse_args()
    result = {"sizes": sizes(), "records": records(), "trips": trips(given.model)}
    if given.as_json:
        print(json.dumps(result, indent=2))
        return
    print(f"| {'':46} | {'now':>20} | {'aim':>16} |\n|{'-' * 48}|{'-' * 21}:|{'-' * 17}:|")
    for label, figure, aim in AIMS:
        value = figure(result)
        print(f"| {label:46} | {f'{value:,}' if isinstance(value, int) else value:>20} | {aim:>16} |")
    print(f"\nfullest folder: {result['sizes']['fullest_folder']}; largest records: {result['records']}")


if __name__ == "__main__":
    main()
