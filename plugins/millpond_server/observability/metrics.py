"""Prometheus metrics of a server. All label values are from fixed sets, so clients cannot create new time series."""

from collections.abc import Callable, Iterator, Sequence

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, ProcessCollector, generate_latest
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, Metric

from millpond.engine.executor import EngineStatus
from millpond.engine.request import PoolingRequest
from millpond.pipeline.call_stats import CallStats
from millpond_server.runtime.models import Models, ServedModel

METHODS = frozenset({"GET", "POST", "PUT", "DELETE", "HEAD", "OPTIONS", "PATCH"})
SECONDS_BUCKETS = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60)
TOKENS_BUCKETS = (16, 64, 128, 256, 512, 1024, 1536, 2048, 4096, 8192, 16384, 32768)
PROMPTS_BUCKETS = (1, 2, 4, 8, 16, 32, 64, 128, 256, 512)
STAGES = ("tokenise", "queue", "compute", "finish")
UNKNOWN_ROUTE = "unknown"

FamilyType = type[GaugeMetricFamily] | type[CounterMetricFamily]
PROCESS_METRICS: dict[str, tuple[FamilyType, str, Callable[[EngineStatus], float]]] = {
    "millpond_engine_process_up": (
        GaugeMetricFamily,
        "1 if the engine process is running, 0 while it is started again",
        lambda it: it.is_alive,
    ),
    "millpond_engine_process_queue_tokens": (
        GaugeMetricFamily,
        "Tokens of the batches of an engine process",
        lambda it: it.queued_tokens,
    ),
    "millpond_engine_process_batches": (
        CounterMetricFamily,
        "Computed batches of an engine process",
        lambda it: it.batches,
    ),
    "millpond_engine_process_tokens": (
        CounterMetricFamily,
        "Computed tokens of an engine process",
        lambda it: it.tokens,
    ),
    "millpond_engine_process_restarts": (
        CounterMetricFamily,
        "Restarts of an engine process",
        lambda it: it.restarts,
    ),
}


class Metrics:
    """The metrics of a server, in a separate registry.

    Args:
        models: The models of the server.

    Attributes:
        registry: The registry.
        running: The number of running requests.
    """

    def __init__(self, models: Models) -> None:
        self.registry = CollectorRegistry()
        ProcessCollector(registry=self.registry)
        self.registry.register(EngineCollector(models))
        self._models = {model.name for model in models.served}
        self.running = Gauge("millpond_requests_running", "Number of running requests", registry=self.registry)
        self._requests = self._counter("requests", "Requests by route and status", "route", "method", "status")
        self._refused = self._counter("requests_refused", "Requests without a result, by reason", "reason")
        self._latency = self._histogram("request_seconds", "Duration of requests", SECONDS_BUCKETS, "route")
        self._stages = self._histogram("stage_seconds", "Duration of stages", SECONDS_BUCKETS, "model", "stage")
        self._truncated = self._counter("truncated_prompts", "Truncated prompts", "model")
        self._duplicates = self._counter("duplicate_prompts", "Prompts computed once with an equal prompt", "model")
        self._cache_hits = self._counter("cache_hits", "Sequences whose results were in the cache", "model")
        self._cache_misses = self._counter("cache_misses", "Sequences that were not in the cache", "model")
        self._batch_tokens = self._histogram("batch_tokens", "Tokens of a batch", TOKENS_BUCKETS, "model")
        self._batch_prompts = self._histogram("batch_sequences", "Prompts of a batch", PROMPTS_BUCKETS, "model")
        self._batch_seconds = self._histogram("batch_seconds", "Duration of a batch", SECONDS_BUCKETS, "model")
        # Children by label values, because looking up labels costs more than counting.
        self._response_metrics: dict[tuple[str, str, int], tuple[Counter, Histogram]] = {}
        self._stage_metrics: dict[str, tuple[Histogram, ...]] = {}

    def watch_log(self, num_lost: Callable[[], float]) -> None:
        """Report the number of lost log lines, which a function returns."""
        gauge = Gauge("millpond_log_lines_lost", "Log lines that could not be written", registry=self.registry)
        gauge.set_function(num_lost)

    def record_response(self, route: str, method: str, status: int, seconds: float) -> None:
        """Record the response to a request."""
        label = method if method in METHODS else "OTHER"
        metrics = self._response_metrics.get((route, label, status))
        if metrics is None:
            metrics = (self._requests.labels(route, label, str(status)), self._latency.labels(route))
            self._response_metrics[route, label, status] = metrics
        requests, latency = metrics
        requests.inc()
        latency.observe(seconds)

    def record_refused(self, reason: str) -> None:
        """Record a request without a result. The reason is from a fixed set."""
        self._refused.labels(reason).inc()

    def record_call(self, model: str, stats: CallStats) -> None:
        """Record the stages of a request that computed prompts."""
        if not stats.prompts or model not in self._models:
            return
        stages = self._stage_metrics.get(model)
        if stages is None:
            stages = self._stage_metrics[model] = tuple(self._stages.labels(model, stage) for stage in STAGES)
            self._truncated.labels(model)  # reported as 0 from the first call on
            self._duplicates.labels(model)
            self._cache_hits.labels(model)
            self._cache_misses.labels(model)
        durations = (stats.tokenise_seconds, stats.queue_seconds, stats.compute_seconds, stats.finish_seconds)
        for stage, seconds in zip(stages, durations, strict=True):
            stage.observe(seconds)
        self.record_prompts(model, stats)

    def record_prompts(self, model: str, stats: CallStats) -> None:
        """Record the prompts of a request, without its stages."""
        if model not in self._models:
            return
        if stats.truncated:
            self._truncated.labels(model).inc(stats.truncated)
        if stats.duplicates:
            self._duplicates.labels(model).inc(stats.duplicates)
        if stats.cache_hits or stats.cache_misses:
            self._cache_hits.labels(model).inc(stats.cache_hits)
            self._cache_misses.labels(model).inc(stats.cache_misses)

    def batch_recorder(self, model: str) -> Callable[[Sequence[PoolingRequest], float], None]:
        """Return a callback for the batches of a model's engine."""
        tokens, prompts = self._batch_tokens.labels(model), self._batch_prompts.labels(model)
        duration = self._batch_seconds.labels(model)

        def record(requests: Sequence[PoolingRequest], seconds: float) -> None:
            tokens.observe(sum([request.num_tokens for request in requests]))
            prompts.observe(len(requests))
            duration.observe(seconds)

        return record

    def text(self) -> bytes:
        """Return all metrics in Prometheus's text format."""
        return generate_latest(self.registry)

    def _counter(self, name: str, description: str, *labels: str) -> Counter:
        return Counter(f"millpond_{name}", description, labels, registry=self.registry)

    def _histogram(self, name: str, description: str, buckets: Sequence[float], *labels: str) -> Histogram:
        return Histogram(f"millpond_{name}", description, labels, buckets=buckets, registry=self.registry)


class EngineCollector:
    """Collects the metrics of engines when Prometheus requests them."""

    def __init__(self, models: Models) -> None:
        self._models = models

    def collect(self) -> Iterator[Metric]:
        """Yield the gauges and counters of each model's engine."""
        gauges: dict[str, tuple[str, Callable[[ServedModel], float]]] = {
            "millpond_engine_up": ("1 if the engine is running", lambda it: it.llm.engine.is_alive),
            "millpond_queue_tokens": ("Waiting and running tokens", lambda it: it.llm.engine.waiting_tokens),
            "millpond_queue_requests": ("Waiting and running prompts", lambda it: it.llm.engine.pending),
            "millpond_queue_wait_seconds": ("Expected wait of a request", lambda it: it.llm.engine.expected_wait()),
            "millpond_tokens_per_second": ("Measured speed", lambda it: it.llm.engine.engine.throughput.rate),
        }
        counters: dict[str, tuple[str, Callable[[ServedModel], float]]] = {
            "millpond_engine_batches": ("Computed batches", lambda it: it.llm.engine.engine.stats.batches),
            "millpond_engine_prompts": ("Finished prompts", lambda it: it.llm.engine.engine.stats.requests),
            "millpond_engine_tokens": ("Tokens of computed prompts", lambda it: it.llm.engine.engine.stats.tokens),
            "millpond_engine_shared_tokens": (
                "Tokens among them that were not computed, because other prompts of the request begin with them",
                lambda it: it.llm.engine.engine.stats.shared_tokens,
            ),
            "millpond_engine_failures": ("Failed prompts", lambda it: it.llm.engine.engine.stats.failures),
        }
        yield from (self._family(GaugeMetricFamily, name, *metric) for name, metric in gauges.items())
        yield from (self._family(CounterMetricFamily, name, *metric) for name, metric in counters.items())
        yield from self._of_processes()

    def _of_processes(self) -> Iterator[Metric]:
        """Yield the metrics of each engine process; they have no samples if engines run in the server's process."""
        statuses = [
            (model.name, it) for model in self._models.served for it in model.llm.engine.engine.runner.statuses()
        ]
        for name, (family_type, description, value) in PROCESS_METRICS.items():
            family = family_type(name, description, labels=["model", "engine", "device"])
            for model, status in statuses:
                family.add_metric([model, status.name, status.device], float(value(status)))
            yield family

    def _family(
        self,
        family_type: FamilyType,
        name: str,
        description: str,
        value: Callable[[ServedModel], float],
    ) -> Metric:
        family = family_type(name, description, labels=["model"])
        for model in self._models.served:
            family.add_metric([model.name], float(value(model)))
        return family
