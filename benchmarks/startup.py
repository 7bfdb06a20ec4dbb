"""Measure the start of a process that embeds one text: time, modules, bytes read and peak memory.

python benchmarks/startup.py [--model MODEL] [--rounds N] [--json]

Each measurement is a new process of this Python; sentence-transformers and transformers are measured if installed.
Bytes that are read through memory maps, such as those of safetensors files, are not counted.
"""

import argparse
import json
import statistics
import subprocess
import sys
import time

MINILM = "sentence-transformers/all-MiniLM-L6-v2"
MILLPOND = "from millpond import LLM\nllm = LLM(model)\nllm.embed('hello')\npath = llm.model_config.identity.path"
PROGRAMS = {
    "millpond embed": (
        "from millpond_command.cli import main\n"
        "sys.argv = ['millpond', 'embed', model, 'hello', '--output', os.devnull]\n"
        "try:\n    main()\nexcept SystemExit as end:\n    assert not end.code, end.code"
    ),
    "sentence-transformers": (
        "from sentence_transformers import SentenceTransformer\n"
        "SentenceTransformer(model, device='cpu').encode('hello')"
    ),
    "transformers": (
        "from transformers import AutoModel, AutoTokenizer\n"
        "tokenizer = AutoTokenizer.from_pretrained(model)\n"
        "AutoModel.from_pretrained(model)(**tokenizer('hello', return_tensors='pt'))"
    ),
}
# The program runs in a child process, which reads its own counters at its end.
HARNESS = """
import json, os, sys
model, path = sys.argv[1], sys.argv[1]
{program}
def counter(file, name):
    return next(int(line.split()[1]) for line in open(file) if line.startswith(name + ":"))
print(json.dumps({{
    "path": path,
    "cpu_seconds": sum(os.times()[:2]),
    "modules": len(sys.modules),
    "read_mib": counter("/proc/self/io", "rchar") / 2**20,
    "peak_mib": counter("/proc/self/status", "VmHWM") / 2**10,
}}), file=sys.stderr)
"""
FIGURES = {"seconds": 2, "cpu_seconds": 2, "modules": 0, "read_mib": 1, "peak_mib": 0}  # decimals


def start(program: str, model: str) -> dict[str, float | str]:
    """Run a program in a new process and return its figures.

    Raises:
        RuntimeError: If it fails; contains the end of its error output.
    """
    command = [sys.executable, "-c", HARNESS.format(program=program), model]
    begin = time.perf_counter()
    done = subprocess.run(command, capture_output=True, text=True, check=False)  # noqa: S603  this Python
    seconds = time.perf_counter() - begin
    if done.returncode:
        raise RuntimeError(done.stderr[-500:])
    figures: dict[str, float | str] = json.loads(done.stderr.splitlines()[-1])
    return {**figures, "seconds": seconds}


def measure(model: str, rounds: int) -> dict[str, dict[str, float]]:
    """Return the median of each figure for each program, in turn and after one start that fills the file cache."""
    folder = str(start(MILLPOND, model)["path"])
    runs: dict[str, list[dict[str, float | str]]] = {}
    for _ in range(rounds):
        for name, program in {"millpond.LLM": MILLPOND, **PROGRAMS}.items():
            try:
                runs.setdefault(name, []).append(start(program, folder))
            except RuntimeError as error:
                if "No module named" not in str(error):
                    raise
    return {
        name: {figure: statistics.median(float(run[figure]) for run in starts) for figure in FIGURES}
        for name, starts in runs.items()
        if starts
    }


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", default=MINILM)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--json", action="store_true")
    options = parser.parse_args()
    rows = measure(options.model, options.rounds)
    if options.json:
        print(json.dumps(rows, indent=1))
    else:
        print(f"{'':24}" + "".join(f"{figure:>13}" for figure in FIGURES))
        for name, row in rows.items():
            print(f"{name:24}" + "".join(f"{row[key]:13.{digits}f}" for key, digits in FIGURES.items()))
