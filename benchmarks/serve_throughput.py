"""How many requests a second does a server answer, beside infinity's? Where does its time go?

python benchmarks/serve_throughput.py [--short] [--contestants NAMES] [--rounds N] [--seconds N] [--texts N]
    [--output FOLDER]

All servers run, with all that they check, limit, count and log. One is asked while the others are idle, by 32 clients
in a process of their own, each of which asks again once it is answered.
"""

import time
from collections.abc import Mapping
from itertools import product
from typing import Any

from contest import SETTLE, turns
from contestants import BY_NAME
from embed_throughput import agreements
from environments import console
from figures import Spread, quantile, quantiles_of_rounds, quotients
from servers import Load, Servers
from settings import Result, Settings, new_result, read_settings, write
from workloads import requests

CLIENTS = 32
REQUESTS = 500  # different ones; they begin anew when they run out
WARM = 1.0  # seconds
COMPARED = 64  # texts whose vectors are compared
MIDDLE, TAIL = 0.5, 0.99
MILLI = 1e3


def measure(settings: Settings) -> Result:
    """All servers in turns."""
    result = new_result(settings)
    workload, asked = requests(settings.model.tokenizer, min(settings.texts or REQUESTS, REQUESTS))
    load = Load(texts=asked, clients=CLIENTS, warm=WARM, seconds=settings.seconds)
    runs: dict[str, list[dict[str, Any]]] = {contestant.name: [] for contestant in settings.contestants}
    with Servers(settings.contestants, settings.model, settings.environments) as servers:
        running = servers.running
        compared = workload.texts[:COMPARED]
        agreement = agreements({name: server.embed(compared) for name, server in running.items()})
        result["contestants"] = {name: server.describe() for name, server in running.items()}
        for number, order in enumerate(turns(list(running), settings.rounds)):
            console.print(f"{settings.model.name}, {workload.name}: round {number + 1} of {settings.rounds}")
            for name in order:
                time.sleep(SETTLE)
                runs[name].append(running[name].under(load))
    return {
        **result,
        "workload": workload.name,
        "fingerprint": workload.fingerprint,
        "clients": CLIENTS,
        "seconds": settings.seconds,
        "texts_of_a_request": len(workload.texts) / len(asked),
        "tokens_of_a_text": sum(workload.lengths) / len(workload.texts),
        "rows": {name: {**_figures(found), "cosine_to_reference": agreement[name]} for name, found in runs.items()},
        "ratios": ratios_of(runs),
    }


def _figures(rounds: list[dict[str, Any]]) -> Result:
    """Answers a second of wall time and of the server's CPU time, milliseconds, shares of CPU time."""
    milliseconds = [[second * MILLI for second in one["latencies"]] for one in rounds]
    return {
        "answers": [len(one["latencies"]) for one in rounds],
        "wall_seconds": [one["seconds"] for one in rounds],
        **{f"{name}_seconds": [one[name] for one in rounds] for name in ("server_cpu", "event_loop", "computing")},
        "requests_per_second": Spread.of(_rates(rounds, "seconds")).as_dict(),
        "requests_per_cpu_second": Spread.of(_rates(rounds, "server_cpu")).as_dict(),
        "p50_ms": quantiles_of_rounds(milliseconds, MIDDLE).as_dict(),
        "p99_ms": quantiles_of_rounds(milliseconds, TAIL).as_dict(),
        "p50_ms_of_rounds": [quantile(one, MIDDLE) for one in milliseconds],
        "busy_cores": Spread.of([one["server_cpu"] / one["seconds"] for one in rounds]).as_dict(),
        **{f"{name}_share": _share(rounds, name, "server_cpu") for name in ("event_loop", "computing", "other")},
        "clients_share_of_a_core": _share(rounds, "cpu", "seconds"),
    }


def _rates(rounds: list[dict[str, Any]], clock: str) -> list[float]:
    return [len(one["latencies"]) / one[clock] for one in rounds]


def _share(rounds: list[dict[str, Any]], part: str, whole: str) -> dict[str, float]:
    return Spread.of([one[part] / one[whole] for one in rounds]).as_dict()


def ratios_of(runs: Mapping[str, list[dict[str, Any]]]) -> list[Result]:
    """How many times as many requests each of ours answers as each peer, a second of wall and of CPU time."""
    ours, peers = [[name for name in runs if BY_NAME[name].is_ours == own] for own in (True, False)]
    clocks = {"wall": "seconds", "cpu": "server_cpu"}
    return [
        {
            "contestant": own,
            "peer": peer,
            **{
                name: quotients(_rates(runs[own], clock), _rates(runs[peer], clock)).as_dict()
                for name, clock in clocks.items()
            },
        }
        for own, peer in product(ours, peers)
    ]


if __name__ == "__main__":
    chosen = read_settings("serve_throughput", __doc__, seconds=(20.0, 5.0))
    write(measure(chosen), chosen)
