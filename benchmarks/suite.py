"""Run all benchmarks one after the other, each in a separate process; --publish also writes docs/performance.md.

python benchmarks/suite.py [--publish] [--output FOLDER] [options of the scripts: --short, --rounds N ...]
"""

import argparse
import subprocess
import sys
import time
from pathlib import Path

from environments import console
from gpu_all import has_cuda
from settings import RESULTS

HERE = Path(__file__).parent
BENCHMARKS = ("embed_throughput", "latency", "encoders", "memory", "int8_quality", "tokenisation", "cache")
LINUX_BENCHMARKS = ("serve_throughput", "jobs", "batches")  # they read /proc


def main() -> int:
    """Run all benchmarks; a failing one does not stop the others."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--publish", action="store_true", help="write docs/performance.md from these results")
    parser.add_argument("--output", type=Path, default=RESULTS, help="folder of the results (default: %(default)s)")
    arguments, script_options = parser.parse_known_args()
    failed: list[str] = []
    start = time.perf_counter()
    for name in (*BENCHMARKS, *(LINUX_BENCHMARKS if sys.platform == "linux" else ())):
        console.rule(name)
        if _run(f"{name}.py", "--output", str(arguments.output), *script_options):
            failed.append(name)
    if has_cuda():
        console.rule("gpu_all")
        short = ["--short"] if "--short" in script_options else []
        if _run("gpu_all.py", "--output", str(arguments.output), *short):
            failed.append("gpu_all")
    console.print(f"Total time: {(time.perf_counter() - start) / 60:.1f} minutes.")
    if failed:
        console.print(f"Failed: {', '.join(failed)}. Nothing is published.")
        return 1
    return _run("report.py", "--publish", str(arguments.output)) if arguments.publish else 0


def _run(script: str, *arguments: str) -> int:
    return subprocess.run([sys.executable, str(HERE / script), *arguments], check=False).returncode  # noqa: S603


if __name__ == "__main__":
    raise SystemExit(main())
