"""Measure the throughput of a server and the CPU time of its threads, compared with infinity's server.

python benchmarks/serve_throughput.py [--short] [--contestants NAMES] [--rounds N] [--seconds N] [--texts N]
    [--output FOLDER]

All servers run at the same time with their default checks, limits, metrics and logs. One is measured while the others
are idle. A separate process simulates 32 clients, each of which sends its next request when it has received a response.
"""

import time
from collections.abc import Mapping
from itertools import product
from typing import Any

from contest import SETTLE_SECONDS, round_orders
from contestants import BY_NAME
from embed_throughput import checked_cosines
from environments import console
from figures import Spread, quantile, quantiles_of_rounds, quotients
from servers import Load, Servers
from settings import Result, Settings, new_result, read_settings, write
from workloads import requests

CLIENTS = 32
REQUESTS = 500  # different requests, sent in a cycle
WARM_UP_SECONDS = 1.0
COMPARED_TEXTS = 64  # texts whose vectors are compared
P50, P99 = 0.5, 0.99
MS_PER_SECOND = 1e3


def measure(settings: Settings) -> Result:
    """Measure all servers in turns."""
    result = new_result(settings)
    workload, texts = requests(settings.model.tokenizer, min(settings.texts or REQUESTS, REQUESTS))
    load = Load(texts=texts, clients=CLIENTS, warm=WARM_UP_SECONDS, seconds=settings.seconds)
    runs: dict[str, list[dict[str, Any]]] = {contestant.name: [] for contestant in settings.contestants}
    with Servers(settings.contestants, settings.model, settings.environments) as servers:
        running = servers.running
        compared = workload.texts[:COMPARED_TEXTS]
        agreement = checked_cosines({name: server.embed(compared) for name, server in running.items()})
        result["contestants"] = {name: server.describe() for name, server in running.items()}
        for number, order in enumerate(round_orders(list(running), settings.rounds)):
            console.print(f"{settings.model.name}, {workload.name}: round {number + 1} of {settings.rounds}")
            for name in order:
                time.sleep(SETTLE_SECONDS)
                runs[name].append(running[name].run_load(load))
    return {
        **result,
        "workload": workload.name,
        "fingerprint": workload.fingerprint,
        "clients": CLIENTS,
        "seconds": settings.seconds,
        "texts_of_a_request": len(workload.texts) / len(texts),
        "tokens_of_a_text": sum(workload.lengths) / len(workload.texts),
        "rows": {name: {**_figures(rounds), "cosine_to_reference": agreement[name]} for name, rounds in runs.items()},
        "ratios": ratios_of(runs),
    }


def _figures(rounds: list[dict[str, Any]]) -> Result:
    """Return responses per second of wall time and of the server's CPU time, latencies, and shares of CPU time."""
    milliseconds = [[second * MS_PER_SECOND for second in it["latencies"]] for it in rounds]
    return {
        "answers": [len(it["latencies"]) for it in rounds],
        "wall_seconds": [it["seconds"] for it in rounds],
        **{f"{name}_seconds": [it[name] for it in rounds] for name in ("server_cpu", "event_loop", "computing")},
        "requests_per_second": Spread.of(_rates(rounds, "seconds")).as_dict(),
        "requests_per_cpu_second": Spread.of(_rates(rounds, "server_cpu")).as_dict(),
        "p50_ms": quantiles_of_rounds(milliseconds, P50).as_dict(),
        "p99_ms": quantiles_of_rounds(milliseconds, P99).as_dict(),
        "p50_ms_of_rounds": [quantile(it, P50) for it in milliseconds],
        "busy_cores": Spread.of([it["server_cpu"] / it["seconds"] for it in rounds]).as_dict(),
        **{f"{name}_share": _share(rounds, name, "server_cpu") for name in ("event_loop", "computing", "other")},
        "clients_share_of_a_core": _share(rounds, "cpu", "seconds"),
    }


def _rates(rounds: list[dict[str, Any]], clock: str) -> list[float]:
    return [len(it["latencies"]) / it[clock] for it in rounds]


def _share(rounds: list[dict[str, Any]], part: str, whole: str) -> dict[str, float]:
    return Spread.of([it[part] / it[whole] for it in rounds]).as_dict()


def ratios_of(runs: Mapping[str, list[dict[str, Any]]]) -> list[Result]:
    """Return the throughput of each configuration of Millpond divided by that of each peer."""
    ours = [name for name in runs if BY_NAME[name].is_ours]
    peers = [name for name in runs if name not in ours]
    clocks = {"wall": "seconds", "cpu": "server_cpu"}
    return [
        {
            "contestant": contestant,
            "peer": peer,
            **{
                name: quotients(_rates(runs[contestant], clock), _rates(runs[peer], clock)).as_dict()
                for name, clock in clocks.items()
            },
        }
        for contestant, peer in product(ours, peers)
    ]


if __name__ == "__main__":
    settings = read_settings("serve_throughput", __doc__, seconds=(20.0, 5.0))
    write(measure(settings), settings)
