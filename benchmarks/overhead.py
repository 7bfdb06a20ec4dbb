"""Measure the time of one short text over the bare forward pass of the same token ids by the same kernels.

python benchmarks/overhead.py [--short] [--contestants NAMES] [--rounds N] [--texts N] [--output FOLDER]

In each round, blocks of the same texts take turns: ``POST /v1/embeddings`` to a server with one connection that stays
open, ``LLM.embed``, the model with its pooler on packed batches, and the model alone. A worker of the engine runs and
measures the last two. Everything is warm.
"""

import tempfile
import time
from collections.abc import Callable, Sequence
from contextlib import ExitStack, closing
from http.client import HTTPConnection
from pathlib import Path
from queue import SimpleQueue
from statistics import mean
from typing import Any

import numpy as np
from contestants import Contestant
from figures import quantile, quantiles_of_rounds, quotients
from servers import HOST, RESPONSE_TIMEOUT, Server
from settings import Result, Settings, new_result, read_settings, write
from workloads import short

from millpond import LLM, PoolingParams
from millpond.nn.batch import PackedBatch, PoolingMetadata

SERVED, EMBED, POOLED, FORWARD = "POST /v1/embeddings", "LLM.embed", "forward and pooling", "forward"
BLOCK_TEXTS, SHORT_BLOCK_TEXTS = 100, 40  # in a full and in a short run
WARM_UP_ROUNDS = 2
MS_PER_SECOND = 1e3
P50, P95 = 0.5, 0.95
PARAMS = PoolingParams(task="embed", use_activation=True)
Call = Callable[[], float]


class Served:
    """One client of a server, with a connection that stays open."""

    def __init__(self, server: Server) -> None:
        self._connection = HTTPConnection(HOST, server.port, timeout=RESPONSE_TIMEOUT)
        self._body = server.body

    def close(self) -> None:
        """Close the connection."""
        self._connection.close()

    def call(self, text: str) -> Call:
        """Return a function that embeds a text and returns the seconds it took."""
        body = self._body([text])

        def post() -> float:
            began = time.perf_counter()
            self._connection.request("POST", "/v1/embeddings", body, {"content-type": "application/json"})
            response = self._connection.getresponse()
            response.read()
            seconds = time.perf_counter() - began
            if response.status != 200:  # noqa: PLR2004  OK
                raise SystemExit(f"the server responded with {response.status}")
            return seconds

        return post


class Engine:
    """The functions of a loaded model."""

    def __init__(self, llm: LLM) -> None:
        self.llm = llm
        self._runner: Any = llm._engine.runner  # noqa: SLF001  the bare model is not public
        self._done: SimpleQueue[float] = SimpleQueue()

    def calls(self, text: str) -> dict[str, Call]:
        """Return a function for each way to compute a text; each returns the seconds it took."""
        (output,) = self.llm.embed([text], use_tqdm=False)
        batch, model = PackedBatch.pack([np.array(output.prompt_token_ids)]), self._runner.model
        metadata = PoolingMetadata(lengths=batch.lengths, input_ids=batch.input_ids, params=(PARAMS,))
        return {
            EMBED: lambda: seconds_of(lambda: self.llm.embed(text, use_tqdm=False)),
            POOLED: lambda: self._on_worker(lambda: model.poolers["embed"](model(batch), metadata)),
            FORWARD: lambda: self._on_worker(lambda: model(batch)),
        }

    def _on_worker(self, function: Callable[[], object]) -> float:
        """Return the seconds that a function takes on a worker, without the change of threads."""
        self._runner._jobs.put((lambda: seconds_of(function), self._done.put))  # noqa: SLF001  as above
        return self._done.get()


def seconds_of(function: Callable[[], object]) -> float:
    """Return the seconds that a call takes."""
    began = time.perf_counter()
    function()
    return time.perf_counter() - began


def measure(settings: Settings) -> Result:
    """Measure blocks of texts in turns, for each configuration of Millpond."""
    workload = short(settings.model.tokenizer, settings.count(BLOCK_TEXTS, SHORT_BLOCK_TEXTS))
    result = new_result(settings)
    return {
        **result,
        "workload": workload.name,
        "fingerprint": workload.fingerprint,
        "tokens_of_a_text": mean(workload.lengths),
        "block": len(workload.texts),
        "rows": {it.name: _figures(_blocks(it, workload.texts, settings)) for it in settings.contestants if it.is_ours},
    }


def _blocks(contestant: Contestant, texts: Sequence[str], settings: Settings) -> dict[str, list[list[float]]]:
    """Return the milliseconds of each text, by function and round."""
    with ExitStack() as stack:
        home = Path(stack.enter_context(tempfile.TemporaryDirectory()))
        server = Server(contestant, settings.model, settings.environments, home)
        stack.callback(server.close)
        server.wait()
        engine = Engine(stack.enter_context(LLM(str(settings.model.folder), **contestant.options)))
        served = stack.enter_context(closing(Served(server)))
        calls = [{SERVED: served.call(text), **engine.calls(text)} for text in texts]
        blocks: dict[str, list[list[float]]] = {function: [] for function in calls[0]}
        for number in range(-WARM_UP_ROUNDS, settings.rounds):
            for function, of_function in blocks.items():
                block = [call[function]() * MS_PER_SECOND for call in calls]
                if number >= 0:
                    of_function.append(block)
    return blocks


def _figures(blocks_of: dict[str, list[list[float]]]) -> dict[str, dict[str, Any]]:
    """Return the percentiles of each function in milliseconds, and its median over that of the bare forward pass."""
    medians = {name: [quantile(block, P50) for block in blocks] for name, blocks in blocks_of.items()}
    return {
        name: {
            "p50_ms": quantiles_of_rounds(blocks, P50).as_dict(),
            "p95_ms": quantiles_of_rounds(blocks, P95).as_dict(),
            "over_forward": quotients(medians[name], medians[FORWARD]).as_dict(),
        }
        for name, blocks in blocks_of.items()
    }


if __name__ == "__main__":
    settings = read_settings("overhead", __doc__, rounds=16, short_rounds=3)
    write(measure(settings), settings)
