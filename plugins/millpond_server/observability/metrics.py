"""Metrics: what Prometheus reads of a server; every label is one of a fixed set, whatever clients send."""

from collections.abc import Callable, Iterator, Sequence

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, ProcessCollector, generate_latest
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, Metric

from millpond.engine.request import PoolingRequest
from millpond.pipeline.call_stats import CallStats
from millpond_server.runtime.models import Models, ServedModel

METHODS = frozenset({"GET", "POST", "PUT", "DELETE", "HEAD", "OPTIONS", "PATCH"})
SECONDS = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60)
TOKENS = (16, 64, 128, 256, 512, 1024, 1536, 2048, 4096, 8192, 16384, 32768)
SEQUENCES = (1, 2, 4, 8, 16, 32, 64, 128, 256, 512)
STAGES = ("tokenise", "queue", "compute", "finish")
UNKNOWN = "unknown"


class Metrics:
    """All that is measured, in a registry of its own.

    Attributes:
        running: The requests that are served at present.
    """

    def __init__(self, models: Models) -> None:
        self.registry = CollectorRegistry()
        ProcessCollector(registry=self.registry)
        self.registry.register(EngineCollector(models))
        self._models = {model.name for model in models.served}
        self.running = Gauge("millpond_requests_running", "Requests served at present", registry=self.registry)
        self._requests = self._counter("requests", "Requests by route and status", "route", "method", "status")
        self._refused = self._counter("requests_refused", "Requests that got no result, by reason", "reason")
        self._latency = self._histogram("request_seconds", "From the head of a request to its answer", SECONDS, "route")
        self._stages = self._histogram("stage_seconds", "The stages of a request", SECONDS, "model", "stage")
        self._truncated = self._counter("truncated_prompts", "Prompts that were cut", "model")
        self._duplicates = self._counter("duplicate_prompts", "Prompts computed with an equal one", "model")
        self._batch_tokens = self._histogram("batch_tokens", "Tokens of a batch", TOKENS, "model")
        self._batch_sequences = self._histogram("batch_sequences", "Prompts of a batch", SEQUENCES, "model")
        self._of_answers: dict[tuple[str, str, int], tuple[Counter, Histogram]] = {}
        self._of_stages: dict[str, tuple[Histogram, ...]] = {}
        self._batch_seconds = self._histogram("batch_seconds", "How long a batch is computed", SECONDS, "model")

    def watch_log(self, lost: Callable[[], float]) -> None:
        """Report the number of log lines that were lost, as a function returns it."""
        gauge = Gauge("millpond_log_lines_lost", "Log lines that could not be written", registry=self.registry)
        gauge.set_function(lost)

    def answered(self, route: str, method: str, status: int, seconds: float) -> None:
        """Count a request that was answered."""
        known = method if method in METHODS else "OTHER"
        found = self._of_answers.get((route, known, status))
        if found is None:  # looking up labels costs more than counting
            found = (self._requests.labels(route, known, str(status)), self._latency.labels(route))
            self._of_answers[route, known, status] = found
        found[0].inc()
        found[1].observe(seconds)

    def refused(self, reason: str) -> None:
        """Count a request that got no result; the reasons are words of this program."""
        self._refused.labels(reason).inc()

    def called(self, model: str, stats: CallStats) -> None:
        """Count what a request had computed."""
        if not stats.prompts or model not in self._models:
            return
        found = self._of_stages.get(model)
        if found is None:
            found = self._of_stages[model] = tuple(self._stages.labels(model, stage) for stage in STAGES)
            self._truncated.labels(model)  # so that they are told of from the first call on, as 0
            self._duplicates.labels(model)
        took = (stats.tokenise_seconds, stats.queue_seconds, stats.compute_seconds, stats.finish_seconds)
        for stage, seconds in zip(found, took, strict=True):
            stage.observe(seconds)
        if stats.truncated:
            self._truncated.labels(model).inc(stats.truncated)
        if stats.duplicates:
            self._duplicates.labels(model).inc(stats.duplicates)

    def of_batches(self, model: str) -> Callable[[Sequence[PoolingRequest], float], None]:
        """What takes note of the batches of a model's engine."""
        tokens, sequences = self._batch_tokens.labels(model), self._batch_sequences.labels(model)
        duration = self._batch_seconds.labels(model)

        def note(requests: Sequence[PoolingRequest], seconds: float) -> None:
            tokens.observe(sum(request.num_tokens for request in requests))
            sequences.observe(len(requests))
            duration.observe(seconds)

        return note

    def text(self) -> bytes:
        """All of it, as Prometheus reads it."""
        return generate_latest(self.registry)

    def _counter(self, name: str, told: str, *labels: str) -> Counter:
        return Counter(f"millpond_{name}", told, labels, registry=self.registry)

    def _histogram(self, name: str, told: str, buckets: Sequence[float], *labels: str) -> Histogram:
        return Histogram(f"millpond_{name}", told, labels, buckets=buckets, registry=self.registry)


class EngineCollector:
    """What engines know themselves, asked for when it is read."""

    def __init__(self, models: Models) -> None:
        self._models = models

    def collect(self) -> Iterator[Metric]:
        """The gauges and counters of each model's engine."""
        gauges: dict[str, tuple[str, Callable[[ServedModel], float]]] = {
            "millpond_engine_up": ("Whether the engine turns", lambda it: it.llm.engine.is_alive),
            "millpond_queue_tokens": ("Tokens that wait or run", lambda it: it.llm.engine.waiting_tokens),
            "millpond_queue_requests": ("Prompts that wait or run", lambda it: it.llm.engine.pending),
            "millpond_queue_wait_seconds": ("The expected wait", lambda it: it.llm.engine.expected_wait()),
            "millpond_tokens_per_second": ("The measured speed", lambda it: it.llm.engine.engine.throughput.rate),
        }
        counters: dict[str, tuple[str, Callable[[ServedModel], float]]] = {
            "millpond_engine_batches": ("Batches computed", lambda it: it.llm.engine.engine.stats.batches),
            "millpond_engine_prompts": ("Prompts that ended", lambda it: it.llm.engine.engine.stats.requests),
            "millpond_engine_tokens": ("Tokens computed", lambda it: it.llm.engine.engine.stats.tokens),
            "millpond_engine_failures": ("Prompts that failed", lambda it: it.llm.engine.engine.stats.failures),
        }
        yield from (self._family(GaugeMetricFamily, name, *told) for name, told in gauges.items())
        yield from (self._family(CounterMetricFamily, name, *told) for name, told in counters.items())

    def _family(
        self,
        kind: type[GaugeMetricFamily] | type[CounterMetricFamily],
        name: str,
        told: str,
        value: Callable[[ServedModel], float],
    ) -> Metric:
        family = kind(name, told, labels=["model"])
        for model in self._models.served:
            family.add_metric([model.name], float(value(model)))
        return family
