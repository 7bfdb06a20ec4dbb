"""BatchObserver: reports batches and their requests to the metrics and the access log of a server."""

from millpond.pipeline.call_stats import CallStats
from millpond_server.batches.batch import Batch
from millpond_server.observability.access_log import AccessLog
from millpond_server.observability.batch_metrics import BatchMetrics
from millpond_server.observability.metrics import Metrics

METHOD = "BATCH"  # in place of an HTTP method, in the access log


class BatchObserver:
    """Reports to metrics and the access log. Its methods may be called in several threads.

    Args:
        metrics: The metrics of models.
        batch_metrics: The metrics of batches.
        log: The access log.
    """

    def __init__(self, metrics: Metrics, batch_metrics: BatchMetrics, log: AccessLog) -> None:
        self._metrics, self._batch_metrics, self._log = metrics, batch_metrics, log

    def on_status(self, batch: Batch) -> None:
        """Write a line when a batch starts or ends. Its requests have no lines: there may be thousands a minute."""
        if batch.has_ended:
            self._batch_metrics.record_end(batch.status)
        elif batch.status != "in_progress":
            return
        self._log.write(
            {
                "event": "batch",
                "id": batch.id,
                "method": METHOD,
                "path": batch.endpoint,
                "status": batch.status,
                "total": batch.counts.total,
                "completed": batch.counts.completed,
                "failed": batch.counts.failed,
                "seconds": batch.times[f"{batch.status}_at"] - batch.created_at,
            }
        )

    def on_request(self, batch: Batch, model: str, stats: CallStats, is_error: bool) -> None:
        """Count a request that has ended."""
        self._batch_metrics.record_request(batch.endpoint, is_error=is_error)
        self._metrics.record_prompts(model, stats)
