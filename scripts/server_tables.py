"""Generate the tables of the server's routes and metrics from their declarations."""

from collections.abc import Iterator

from markdown_tables import sentence, table

from millpond_server.apis.catalogue import APIS
from millpond_server.observability.batch_metrics import BatchMetrics, FolderCounts
from millpond_server.observability.metrics import Metrics
from millpond_server.runtime.models import Models


def route_table(api: str) -> Iterator[str]:
    """Yield the table of the routes of an API, with and without its prefix; equal routes share a row."""
    records = APIS[api]
    rows: dict[tuple[str, str], list[str]] = {}
    for prefix, routes in (("", records.ROUTES), (f"/{api}", records.PREFIXED)):
        for spec in routes:
            method, _, path = spec.name.partition(" ")
            tasks = ", ".join(f"`{task}`" for task in spec.tasks)
            rows.setdefault((tasks, sentence(spec.summary)), []).append(f"`{method} {prefix}{path}`")
    return table(("routes", "tasks", "description"), ((", ".join(names), *rest) for rest, names in rows.items()))


class NoModels(Models):
    """The models of a server that has not loaded any: the metrics are described without them."""

    def __init__(self) -> None:
        self.served = ()


def metric_families() -> Iterator[tuple[str, str, tuple[str, ...], str]]:
    """Yield the name, type, labels and help of each metric."""
    metrics = Metrics(NoModels())
    metrics.watch_log(lambda: 0.0)
    BatchMetrics(metrics.registry, lambda: FolderCounts({}, 0, 0))
    # Metrics without samples reveal their labels nowhere else.
    for collector in dict.fromkeys(metrics.registry._collector_to_names):  # noqa: SLF001
        for family in collector.collect():
            labels = getattr(collector, "_labelnames", ()) or getattr(family, "_labelnames", ())
            name = f"{family.name}_total" if family.type == "counter" else family.name
            yield name, family.type, tuple(labels), family.documentation


def metric_table(name: str) -> Iterator[str]:
    """Yield the table of the server's metrics; those of the process, which prometheus_client defines, are one row."""
    if name != "server":
        message = f"unknown metrics {name!r}; available: server"
        raise ValueError(message)
    families = [it for it in metric_families() if it[0].startswith("millpond_")]
    return table(
        ("metric", "type", "labels", "description"),
        (
            *(
                (f"`{name}`", kind, ", ".join(f"`{it}`" for it in labels), sentence(text))
                for name, kind, labels, text in families
            ),
            ("`process_*`", "", "", "Memory, CPU time and open files of the process, from prometheus_client."),
        ),
    )
