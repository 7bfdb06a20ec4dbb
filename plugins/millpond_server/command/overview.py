"""The overview that a server prints when it starts: its models, limits, API keys and URLs."""

import textwrap
from collections.abc import Sequence

from millpond.plugin.kernels import choose_kernel
from millpond.types.errors import MillpondError
from millpond_command.tables import UNLIMITED_WIDTH, table
from millpond_server.runtime.models import Models, ServedModel
from millpond_server.runtime.settings import Limits, Settings

COLUMNS = ("model", "tasks", "device", "dtype", "kernels", "max tokens", "tokens/s")


def overview(
    models: Models, settings: Settings, address: str, metrics: str | None = None, *, has_playground: bool = False
) -> str:
    """Return the overview as text.

    Args:
        models: The served models.
        settings: The settings of the server.
        address: The URL of the server.
        metrics: The URL of the port for metrics, if there is one.
        has_playground: True if the playground is mounted.
    """
    rows = [_row(model) for model in models.served]
    keys = "required" if settings.api_keys or settings.api_key_file else "none: any client that can connect is served"
    url = f"{address}{settings.root_path}"
    paths = [*(["/playground"] if has_playground else []), "/v1/embeddings", "/docs", "/health"]
    urls = [f"{url}{path}" for path in paths]
    summary = [
        ("limits", _limits(settings.limits)),
        ("API key", keys),
        ("URLs", ", ".join([*urls, f"{url if metrics is None else metrics}/metrics"])),
    ]
    return "\n".join(["", _indented([COLUMNS, *rows]), "", _indented(summary), ""])


def _row(model: ServedModel) -> tuple[str, ...]:
    ctx = model.llm.pipeline.ctx
    rate = model.llm.engine.engine.throughput.rate
    dtype, quantization = ctx.model.dtype, ctx.compute.quantization
    return (
        ", ".join(model.names),
        ", ".join(model.llm.supported_tasks),
        str(ctx.device),
        dtype + (f", {quantization}" if quantization not in (None, dtype) else ""),
        _kernels(model),
        f"{model.llm.model_config.max_model_len:,}",
        f"{rate:,.0f}" if rate else "not measured",
    )


def _kernels(model: ServedModel) -> str:
    ctx = model.llm.pipeline.ctx
    kernels: list[str] = []
    for op, setting in sorted(ctx.requested.ops.items()):
        try:
            kernels.append(choose_kernel(ctx.registry, op, setting).entry.spec.name)
        except MillpondError:  # the model implements this op itself
            continue
    return ", ".join(kernels) or "torch"


def _limits(limits: Limits) -> str:
    return (
        f"{limits.inputs:,} inputs, {limits.tokens:,} tokens and {limits.body_bytes:,} bytes per request; "
        f"{limits.queue_wait:g} s queue wait; {limits.connections:,} connections"
    )


def _indented(rows: Sequence[Sequence[str]]) -> str:
    return textwrap.indent(table(rows, width=UNLIMITED_WIDTH), "  ")
