"""Measure everything that a CUDA device decides in under eight minutes, and write one JSON file.

python benchmarks/gpu_all.py [--device DEVICE] [--short] [--sections NAME,NAME] [--output FOLDER]

Conformance of the kernels, parity with transformers, the table of goals beside its peers, precisions and variants of
attention, batches in flight, a server, peak memory, waits for the device, a profile, and the decisions that follow.
Each section runs in its own process with a time limit, and the file is written every few seconds: a section that fails
or is stopped keeps its rows, also if this program is stopped. Millpond need not be installed, but the packages that it
depends on must be.
``--device cpu --short`` tests the script on any machine.
"""

import argparse
import datetime as dt
import json
import math
import os
import shutil
import signal
import subprocess
import sys
import tempfile
import time
import tomllib
from collections.abc import Callable, Sequence
from contextlib import suppress
from importlib.metadata import PackageNotFoundError, distribution
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from gpu_decisions import decide
from machine import describe_machine

HERE = Path(__file__).parent
ROOT = HERE.parent
RESULTS = HERE / "results"
LIMITS_S = {  # the longest duration of each section
    "machine": 30,
    "conformance": 80,
    "parity": 40,
    "throughput": 90,
    "texts": 30,
    "maxsim": 15,
    "graphs": 15,
    "pipeline": 25,
    "variants": 60,
    "http": 50,
    "syncs": 15,
    "profile": 25,
}
MARGIN_S = 5.0  # between the end of a section's own measurements and its limit
WRITE_INTERVAL_S = 3.0  # between writes of the rows of a section that runs
LOG_TAIL_CHARS = 3000
REQUIRED = (
    "huggingface_hub",
    "importlib_metadata",
    "jinja2",
    "numpy",
    "pluggy",
    "pydantic",
    "rich",
    "safetensors",
    "tokenizers",
    "torch",
    "tqdm",
    "transformers",
    "typer",
)
OPTIONAL = {
    "flash_attn": "transformers with FlashAttention 2",
    "hypothesis": "conformance",
    "kernels": "transformers with FlashAttention of the package kernels",
    "pytest": "conformance",
    "sentence_transformers": "the comparison with sentence-transformers",
    "triton": "kernels in Triton",
    "uvicorn": "texts over HTTP",
}


def missing_packages(names: Sequence[str]) -> list[str]:
    """Return the names of modules that cannot be imported."""
    return [name for name in names if find_spec(name) is None]


def child_environment(folder: Path) -> dict[str, str]:
    """Return the environment of the sections; if Millpond is not installed, the sources of this repository replace it.

    Args:
        folder: The folder for the metadata of the sources, from which plugins are found.
    """
    environment = {**os.environ, "HF_HUB_OFFLINE": "1", "DO_NOT_TRACK": "1"}
    try:
        distribution("millpond")
    except PackageNotFoundError:
        project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))
        write_metadata(folder, project["project"])
        roots = [str(ROOT / name) for name in project["tool"]["hatch"]["build"]["dev-mode-dirs"]]
        inherited = filter(None, [environment.get("PYTHONPATH")])
        environment["PYTHONPATH"] = os.pathsep.join([*roots, str(folder), *inherited])
    return environment


def write_metadata(folder: Path, project: dict[str, Any]) -> None:
    """Write the metadata of a distribution, as pip does: version, program, and the entry points of its plugins."""
    info = folder / f"millpond-{project['version']}.dist-info"
    info.mkdir(parents=True, exist_ok=True)
    metadata = f"Metadata-Version: 2.1\nName: millpond\nVersion: {project['version']}\n"
    (info / "METADATA").write_text(metadata, encoding="utf-8")
    lines: list[str] = []
    for group, points in {**project["entry-points"], "console_scripts": project["scripts"]}.items():
        lines += [f"[{group}]", *(f"{name} = {target}" for name, target in points.items())]
    (info / "entry_points.txt").write_text("\n".join(lines) + "\n", encoding="utf-8")


def run_section(
    name: str,
    limit: float,
    folder: Path,
    arguments: Sequence[str],
    environment: dict[str, str],
    *,
    report: Callable[[dict[str, Any]], None],
) -> None:
    """Run a section in a process, and report its rows, its status, and the end of its log if it failed.

    Args:
        name: The name of the section.
        limit: Its longest duration, in seconds.
        folder: The folder of the checkpoints, logs and rows.
        arguments: More arguments of the section.
        environment: The environment variables of the process.
        report: Called with the section at its start, every few seconds, and at its end.
    """
    rows, log = folder / f"{name}.rows", folder / f"{name}.log"
    command = [sys.executable, str(HERE / "gpu_sections.py"), name, "--rows", str(rows), "--folder", str(folder)]
    command += ["--seconds", str(max(limit - MARGIN_S, 1.0)), *arguments]
    start = time.monotonic()
    with log.open("w", encoding="utf-8") as output:
        process = subprocess.Popen(  # noqa: S603  fixed arguments
            command, env=environment, stdout=output, stderr=subprocess.STDOUT, process_group=0
        )
        try:
            status = ""
            while not status:
                seconds = time.monotonic() - start
                report({"status": "running", "seconds": round(seconds, 1), "rows": read_rows(rows)})
                status = _status(process, limit - seconds)
        finally:
            end_group(process)
    section = {"status": status, "seconds": round(time.monotonic() - start, 1), "rows": read_rows(rows)}
    if status != "ok":
        section["log"] = log.read_text(encoding="utf-8", errors="replace")[-LOG_TAIL_CHARS:]
    report(section)


def _status(process: subprocess.Popen[bytes], seconds_left: float) -> str:
    """Wait some seconds for the end of a process; return its status, empty while it runs and has time left."""
    if seconds_left <= 0:
        return "stopped at its time limit"
    with suppress(subprocess.TimeoutExpired):
        return "ok" if process.wait(min(seconds_left, WRITE_INTERVAL_S)) == 0 else "failed"
    return ""


def end_group(process: subprocess.Popen[bytes]) -> None:
    """End a process and the processes that it started."""
    with suppress(ProcessLookupError):
        os.killpg(process.pid, signal.SIGKILL)
    process.wait()


def read_rows(path: Path) -> list[dict[str, Any]]:
    """Return the complete lines of a file of rows."""
    lines = path.read_text(encoding="utf-8").split("\n")[:-1] if path.exists() else []
    return [json.loads(line) for line in lines]


def write_result(path: Path, result: dict[str, Any]) -> None:
    """Replace a file, so that it is complete at any time."""
    draft = path.with_suffix(".part")
    draft.write_text(json.dumps(_finite(result), indent=1, allow_nan=False) + "\n", encoding="utf-8")
    draft.replace(path)


def _finite(value: Any) -> Any:
    """Return a value of JSON without NaN and infinity, which JSON does not have."""
    if isinstance(value, dict):
        return {key: _finite(item) for key, item in value.items()}
    if isinstance(value, list):
        return [_finite(item) for item in value]
    return None if isinstance(value, float) and not math.isfinite(value) else value


def measure(sections: Sequence[str], output: Path, folder: Path, arguments: Sequence[str]) -> dict[str, Any]:
    """Run sections one after the other; write the result after each."""
    environment = child_environment(folder / "metadata")
    result: dict[str, Any] = {
        "question": "gpu_all",
        "date": dt.datetime.now(tz=dt.UTC).date().isoformat(),
        "short": "--short" in arguments,
        "rounds": 2,
        "contestants": {},
        "left_out": {},
        "machine": describe_machine(),
        "missing": missing_packages(tuple(OPTIONAL)),
        "sections": {},
    }
    start = time.monotonic()
    for name in sections:
        print(f"{name}: at most {LIMITS_S[name]} s", file=sys.stderr, flush=True)

        def report(section: dict[str, Any], name: str = name) -> None:
            result["sections"][name] = section
            result["seconds"] = round(time.monotonic() - start, 1)
            result["decisions"] = _decisions(result["sections"])
            write_result(output / "gpu_all.json", result)

        run_section(name, LIMITS_S[name], folder, arguments, environment, report=report)
        section = result["sections"][name]
        print(f"{name}: {section['status']}, {section['seconds']} s, {len(section['rows'])} rows", file=sys.stderr)
    for trace in folder.glob("trace-*"):
        shutil.move(trace, output / trace.name)  # the folders may be on different file systems
    return result


def _decisions(sections: dict[str, Any]) -> dict[str, Any]:
    """Return the decisions, or the error that an unexpected row caused: later sections are measured all the same."""
    try:
        return decide(sections)
    except Exception as error:  # noqa: BLE001  see above
        return {"error": f"{type(error).__name__}: {error}"}


def main() -> int:
    """Measure the sections, unless a package is missing."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--device", default="cuda", help="device of the models (default: %(default)s)")
    parser.add_argument("--short", action="store_true", help="tiny models and few repetitions")
    parser.add_argument("--sections", default=",".join(LIMITS_S), help="comma-separated names (default: %(default)s)")
    parser.add_argument("--output", type=Path, default=RESULTS, help="folder of the result (default: %(default)s)")
    options = parser.parse_args()
    sections = options.sections.split(",")
    if unknown := [name for name in sections if name not in LIMITS_S]:
        parser.error(f"unknown section {', '.join(unknown)}. Available: {', '.join(LIMITS_S)}")
    if missing := missing_packages(REQUIRED):
        print(f"Missing packages: {', '.join(missing)}. Install them, or put them on PYTHONPATH.", file=sys.stderr)
        return 1
    for name in missing_packages(tuple(OPTIONAL)):
        print(f"Without {name}: {OPTIONAL[name]} will be missing.", file=sys.stderr)
    if options.device.startswith("cuda") and not has_cuda():
        print("No CUDA device found (torch.cuda.is_available() is False).", file=sys.stderr)
        print("Run this on a machine with a CUDA device and a CUDA build of torch.", file=sys.stderr)
        return 1
    options.output.mkdir(parents=True, exist_ok=True)
    signal.signal(signal.SIGTERM, signal.default_int_handler)  # to end the processes of the section
    arguments = ["--device", options.device, *(["--short"] if options.short else [])]
    with tempfile.TemporaryDirectory(prefix="millpond-gpu-") as folder:
        result = measure(sections, options.output, Path(folder), arguments)
    print(json.dumps(result["decisions"], indent=1))
    return 0 if all(section["status"] == "ok" for section in result["sections"].values()) else 1


def has_cuda() -> bool:
    """Return True if torch finds a CUDA device."""
    import torch  # noqa: PLC0415  takes seconds, and no other part of this process needs it

    return torch.cuda.is_available()


if __name__ == "__main__":
    raise SystemExit(main())
