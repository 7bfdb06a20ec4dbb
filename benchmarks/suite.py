"""Asks all questions one after the other, in processes of their own; with --publish the page is written too.

python benchmarks/suite.py [--publish] [--output FOLDER] [what each script can be told: --short, --rounds N ...]
"""

import argparse
import subprocess
import sys
import time
from pathlib import Path

from environments import console
from gpu import has_cuda
from settings import RESULTS

HERE = Path(__file__).parent
QUESTIONS = ("embed_throughput", "latency", "encoders", "memory", "int8_quality", "tokenisation")
ON_LINUX = ("serve_throughput",)  # asks /proc


def main() -> int:
    """Ask all; a question that fails is no reason not to ask the others."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--publish", action="store_true", help="write docs/performance.md from these results")
    parser.add_argument("--output", type=Path, default=RESULTS, help="where figures go (default: %(default)s)")
    arguments, passed_on = parser.parse_known_args()
    failed: list[str] = []
    begun = time.perf_counter()
    here = (*QUESTIONS, *(ON_LINUX if sys.platform == "linux" else ()), *(("gpu",) if has_cuda() else ()))
    for question in here:
        console.rule(question)
        if _run(f"{question}.py", "--output", str(arguments.output), *passed_on):
            failed.append(question)
    console.print(f"All that took {(time.perf_counter() - begun) / 60:.1f} minutes.")
    if failed:
        console.print(f"Failed: {', '.join(failed)}; nothing is published.")
        return 1
    return _run("report.py", "--publish", str(arguments.output)) if arguments.publish else 0


def _run(script: str, *arguments: str) -> int:
    return subprocess.run([sys.executable, str(HERE / script), *arguments], check=False).returncode  # noqa: S603


if __name__ == "__main__":
    raise SystemExit(main())
