"""Section of gpu_all.py: texts over HTTP, from concurrent clients to a server with the model on the device."""

import contextlib
import json
import socket
import statistics
import subprocess
import sys
import time
import urllib.request
from collections.abc import Iterator
from dataclasses import replace
from functools import partial
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from gpu_models import BERT_BASE
from gpu_run import Row, Run, attempt

LOADS = ((1, 1), (64, 1), (16, 32))  # clients, texts of a request
WARM_UP_S, LOAD_S = 0.5, 2.5
START_S = 60.0  # the longest wait for the server
TEXT = "the red boat and snow on the hill at night we see the city far away "
TOKENS = 50
LOG_TAIL_CHARS = 1000


def http(run: Run) -> Iterator[Row]:
    """Requests and tokens per second of ``POST /v1/embeddings``, with one batch in flight and with two."""
    from millpond.testing.checkpoints import write_sentence_transformers  # noqa: PLC0415  imports torch

    if missing := [name for name in ("uvicorn", "starlette", "orjson") if find_spec(name) is None]:
        yield {"left_out": f"not installed: {', '.join(missing)}"}
        return
    folder = run.checkpoint(replace(BERT_BASE, name=f"{BERT_BASE.name}-http"))
    size = json.loads((folder / "config.json").read_text(encoding="utf-8"))["hidden_size"]
    write_sentence_transformers(folder, size=size, max_seq_length=TOKENS)
    for in_flight in (1,) if run.short else (1, 2):
        if run.is_over:
            yield {"in_flight": in_flight, "left_out": "no time left"}
            continue
        try:
            with _server(run, folder, in_flight) as port:
                yield from _loads(run, port, folder.name, in_flight)
        except (OSError, RuntimeError) as error:  # it did not start
            yield {"in_flight": in_flight, "error": str(error)}


def _loads(run: Run, port: int, model: str, in_flight: int) -> Iterator[Row]:
    for clients, texts in LOADS[:2] if run.short else LOADS:
        row = {"in_flight": in_flight, "clients": clients, "texts_of_a_request": texts}
        if run.is_over:
            yield {**row, "left_out": "no time left"}
            continue
        yield attempt(row, partial(_load, run, port, model, clients, texts))


@contextlib.contextmanager
def _server(run: Run, folder: Path, in_flight: int) -> Iterator[int]:
    """Yield the port of a server, which ends with the block."""
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    command = [sys.executable, "-m", "millpond", "serve", str(folder), "--host", "127.0.0.1", "--port", str(port)]
    command += ["--device", str(run.device), "--dtype", "bfloat16", "--served-model-name", folder.name]
    command += ["--num-workers", str(in_flight), "--max-num-batched-tokens", "1024" if run.short else "32768"]
    log = run.folder / f"server-{in_flight}.log"
    with log.open("wb") as output:
        process = subprocess.Popen(command, stdout=output, stderr=subprocess.STDOUT)  # noqa: S603  fixed arguments
    try:
        _wait(f"http://127.0.0.1:{port}/health", process, log, time.monotonic() + START_S)
        yield port
    finally:
        process.terminate()
        try:
            process.wait(10)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()


def _wait(url: str, process: subprocess.Popen[bytes], log: Path, end: float) -> None:
    while True:
        with contextlib.suppress(OSError), urllib.request.urlopen(url, timeout=5):  # noqa: S310  http
            return
        if process.poll() is not None or time.monotonic() > end:
            tail = log.read_text(encoding="utf-8", errors="replace")[-LOG_TAIL_CHARS:]
            message = f"the server did not start within {START_S:g} s (exit code {process.poll()}): {tail}"
            raise RuntimeError(message)
        time.sleep(0.2)


def _load(run: Run, port: int, model: str, clients: int, texts: int) -> Row:
    """Send requests with load.py, and return its figures."""
    words = TEXT * (TOKENS // 8 + 1)
    bodies = [
        json.dumps(
            {"model": model, "truncate_prompt_tokens": -1, "input": [f"{number} {i} {words}" for i in range(texts)]}
        )
        for number in range(50)
    ]
    seconds = 0.5 if run.short else LOAD_S
    job = {"host": "127.0.0.1", "port": port, "path": "/v1/embeddings", "bodies": bodies, "clients": clients}
    script = [sys.executable, str(Path(__file__).with_name("load.py"))]
    content = json.dumps({**job, "warm": WARM_UP_S, "seconds": seconds})
    done = subprocess.run(script, input=content, capture_output=True, text=True, check=True, timeout=60)  # noqa: S603
    return _figures(json.loads(done.stdout.splitlines()[-1]), texts)


def _figures(load: dict[str, Any], texts: int) -> Row:
    succeeded = load["statuses"].get("200", 0)
    latencies = load["latencies"]
    return {
        "requests_per_second": succeeded / load["seconds"],
        "tokens_per_second": succeeded * texts * TOKENS / load["seconds"],
        "p50_ms": statistics.median(latencies) * 1e3 if latencies else None,
        "statuses": load["statuses"],
    }
