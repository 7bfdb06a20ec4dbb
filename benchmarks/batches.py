"""Measure how much slower a server answers live requests while it runs a batch.

python benchmarks/batches.py [--short] [--rounds N] [--seconds N] [--texts N] [--model FOLDER] [--output FOLDER]

Live requests are measured alone and beside a batch of `/v1/batches`, in turns on the same server. The batch has more
requests than it can finish in a round; it is cancelled at the end of the round.
"""

import json
import tempfile
import time
import urllib.request
from collections.abc import Sequence
from dataclasses import replace
from typing import Any
from uuid import uuid4

from contest import SETTLE_SECONDS
from contestants import BY_NAME
from environments import console
from figures import Spread, quantile, quantiles_of_rounds, quotients
from servers import HOST, RESPONSE_TIMEOUT, Load, Server, Servers
from settings import Result, Settings, new_result, read_settings, write
from workloads import requests

SIDES = ("alone", "beside a batch")
CLIENTS = 4
REQUESTS = 500  # different live requests, sent in a cycle
WARM_UP_SECONDS = 1.0
BATCH_LINES = 50_000
POLL_SECONDS = 0.05
P50, P99 = 0.5, 0.99
MS_PER_SECOND = 1e3


def measure(settings: Settings) -> Result:
    """Measure both sides in turns."""
    result = new_result(settings)
    workload, texts = requests(settings.model.tokenizer, min(settings.texts or REQUESTS, REQUESTS))
    load = Load(texts=texts, clients=CLIENTS, warm=WARM_UP_SECONDS, seconds=settings.seconds)
    runs: dict[str, list[dict[str, Any]]] = {name: [] for name in SIDES}
    with tempfile.TemporaryDirectory(prefix="millpond-batches-") as folder:
        contestant = replace(BY_NAME["millpond"], options={"batch-dir": folder, "log-format": "off"})
        with Servers([contestant], settings.model, settings.environments) as servers:
            (server,) = servers.running.values()
            result["contestants"] = {contestant.name: server.describe()}
            batches = Batches(server, settings.model.slug, workload.texts)
            for number in range(settings.rounds):
                for name in SIDES if number % 2 == 0 else reversed(SIDES):
                    console.print(f"{name}: round {number + 1} of {settings.rounds}")
                    time.sleep(SETTLE_SECONDS)
                    runs[name].append(batches.run_beside(load) if name != SIDES[0] else server.run_load(load))
    latencies = {name: [[s * MS_PER_SECOND for s in it["latencies"]] for it in rounds] for name, rounds in runs.items()}
    return {
        **result,
        "workload": workload.name,
        "fingerprint": workload.fingerprint,
        "clients": CLIENTS,
        "seconds": settings.seconds,
        "rows": {name: _figures(rounds, latencies[name]) for name, rounds in runs.items()},
        "batch_requests_per_second": Spread.of([it["batch_rate"] for it in runs[SIDES[1]]]).as_dict(),
        "beside_over_alone": {
            name: quotients(*([quantile(it, share) for it in latencies[side]] for side in reversed(SIDES))).as_dict()
            for name, share in (("p50", P50), ("p99", P99))
        },
    }


def _figures(rounds: list[dict[str, Any]], milliseconds: list[list[float]]) -> Result:
    """Return the requests per second and the latencies of live requests."""
    return {
        "requests_per_second": Spread.of([len(it["latencies"]) / it["seconds"] for it in rounds]).as_dict(),
        "p50_ms": quantiles_of_rounds(milliseconds, P50).as_dict(),
        "p99_ms": quantiles_of_rounds(milliseconds, P99).as_dict(),
    }


class Batches:
    """Batches of a server.

    Args:
        server: The server.
        model: The name of the model in requests.
        texts: The texts of the batches, used in a cycle.
    """

    def __init__(self, server: Server, model: str, texts: Sequence[str]) -> None:
        self._url = f"http://{HOST}:{server.port}/v1"
        self._server = server
        self._file_id = self._upload(model, texts)

    def run_beside(self, load: Load) -> dict[str, Any]:
        """Run clients while a batch runs; returns their figures, with the requests per second of the batch."""
        body = {"input_file_id": self._file_id, "endpoint": "/v1/embeddings", "completion_window": "24h"}
        batch = self._ask("POST", "/batches", json.dumps(body).encode())
        batch = self._wait(batch, "in_progress")
        before, start = batch["request_counts"]["completed"], time.perf_counter()
        figures = self._server.run_load(load)
        batch = self._ask("GET", f"/batches/{batch['id']}")
        if batch["status"] != "in_progress":
            raise SystemExit(f"The batch has ended with the status {batch['status']}: pass a smaller --seconds.")
        rate = (batch["request_counts"]["completed"] - before) / (time.perf_counter() - start)
        self._ask("POST", f"/batches/{batch['id']}/cancel", b"")
        self._wait(batch, "cancelled")
        return {**figures, "batch_rate": rate}

    def _wait(self, batch: dict[str, Any], status: str) -> dict[str, Any]:
        while batch["status"] != status:
            time.sleep(POLL_SECONDS)
            batch = self._ask("GET", f"/batches/{batch['id']}")
        return batch

    def _upload(self, model: str, texts: Sequence[str]) -> str:
        lines = (
            {
                "custom_id": str(number),
                "method": "POST",
                "url": "/v1/embeddings",
                "body": {"model": model, "input": texts[number % len(texts)]},
            }
            for number in range(BATCH_LINES)
        )
        boundary = uuid4().hex
        head = (
            f'--{boundary}\r\nContent-Disposition: form-data; name="purpose"\r\n\r\nbatch\r\n--{boundary}\r\n'
            'Content-Disposition: form-data; name="file"; filename="batch.jsonl"\r\n\r\n'
        )
        content = "".join(f"{json.dumps(line)}\n" for line in lines)
        body = f"{head}{content}\r\n--{boundary}--\r\n".encode()
        file_id: str = self._ask("POST", "/files", body, f"multipart/form-data; boundary={boundary}")["id"]
        return file_id

    def _ask(
        self, method: str, path: str, body: bytes | None = None, content_type: str = "application/json"
    ) -> dict[str, Any]:
        request = urllib.request.Request(  # noqa: S310  a local server
            self._url + path, data=body, headers={"content-type": content_type}, method=method
        )
        with urllib.request.urlopen(request, timeout=RESPONSE_TIMEOUT) as response:  # noqa: S310  a local server
            value: dict[str, Any] = json.load(response)
        return value


if __name__ == "__main__":
    settings = read_settings("batches", __doc__, seconds=(20.0, 3.0))
    write(measure(settings), settings)
