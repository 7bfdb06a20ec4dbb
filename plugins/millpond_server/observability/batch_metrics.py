"""Prometheus metrics of files and batches, for servers with ``--batch-dir``."""

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass

from prometheus_client import CollectorRegistry, Counter
from prometheus_client.core import GaugeMetricFamily, Metric


@dataclass(frozen=True)
class FolderCounts:
    """The content of the folder of files and batches.

    Attributes:
        batches: The number of batches that have not ended, by status.
        files: The number of files.
        bytes: Their size.
    """

    batches: Mapping[str, int]
    files: int
    bytes: int


class BatchMetrics:
    """The metrics of files and batches.

    Args:
        registry: The registry of the server's metrics.
        counts: Returns the content of the folder.
    """

    def __init__(self, registry: CollectorRegistry, counts: Callable[[], FolderCounts]) -> None:
        self._counts = counts
        self._ended = Counter(
            "millpond_batch_jobs_ended", "Ended batches of /v1/batches, by status", ("status",), registry=registry
        )
        self._requests = Counter(
            "millpond_batch_job_requests",
            "Requests of batches of /v1/batches, by route and result",
            ("route", "result"),
            registry=registry,
        )
        registry.register(self)

    def record_end(self, status: str) -> None:
        """Record the end of a batch."""
        self._ended.labels(status).inc()

    def record_request(self, route: str, *, is_error: bool) -> None:
        """Record the end of a request of a batch."""
        self._requests.labels(route, "failed" if is_error else "completed").inc()

    def collect(self) -> Iterator[Metric]:
        """Yield the gauges."""
        counts = self._counts()
        batches = GaugeMetricFamily(
            "millpond_batch_jobs", "Batches of /v1/batches that have not ended, by status", labels=["status"]
        )
        for status, number in counts.batches.items():
            batches.add_metric([status], number)
        yield batches
        yield GaugeMetricFamily("millpond_stored_files", "Files of /v1/files", value=counts.files)
        yield GaugeMetricFamily("millpond_stored_file_bytes", "Size of the files of /v1/files", value=counts.bytes)
