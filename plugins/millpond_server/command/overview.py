"""What a server says of itself when it starts: a table of its models, its limits, and where to find what."""

from collections.abc import Sequence

from millpond.nn.ops import choose_kernel
from millpond.types.errors import MillpondError
from millpond_server.runtime.models import Models, ServedModel
from millpond_server.runtime.settings import Limits, Settings

HEAD = ("model", "tasks", "device", "dtype", "kernels", "tokens a text", "tokens a second")


def overview(models: Models, settings: Settings, address: str, metrics: str | None = None) -> str:
    """The table, its lines in one text.

    Args:
        models: The models.
        settings: How they are served.
        address: Where.
        metrics: Where its metrics are, if not there.
    """
    rows = [_row(model) for model in models.served]
    keys = "needed" if settings.api_keys or settings.api_key_file else "none: whoever reaches it may use it"
    url = f"{address}{settings.root_path}"
    urls = [f"{url}{path}" for path in ("/v1/embeddings", "/docs", "/health")]
    told = [
        ("limits", _limits(settings.limits)),
        ("API key", keys),
        ("URLs", ", ".join([*urls, f"{url if metrics is None else metrics}/metrics"])),
    ]
    return "\n".join(["", *_table([HEAD, *rows]), "", *(f"  {name:<8} {text}" for name, text in told), ""])


def _row(model: ServedModel) -> tuple[str, ...]:
    ctx = model.llm.pipeline.ctx
    rate = model.llm.engine.engine.throughput.rate
    return (
        ", ".join(model.names),
        ", ".join(model.llm.supported_tasks),
        str(ctx.device),
        str(ctx.dtype).removeprefix("torch.") + (f", {ctx.quantization}" if ctx.quantization else ""),
        _kernels(model),
        f"{model.llm.model_config.max_model_len:,}",
        f"{rate:,.0f}" if rate else "not measured",
    )


def _kernels(model: ServedModel) -> str:
    ctx = model.llm.pipeline.ctx
    chosen: list[str] = []
    for op, setting in sorted(ctx.ops.items()):
        try:
            chosen.append(choose_kernel(ctx.registry, op, setting).entry.spec.name)
        except MillpondError:  # it has an implementation of its own
            continue
    return ", ".join(chosen) or "torch"


def _limits(limits: Limits) -> str:
    return (
        f"{limits.inputs:,} inputs, {limits.tokens:,} tokens and {limits.body_bytes:,} bytes a request; "
        f"{limits.queue_wait:g} s of waiting; {limits.connections:,} connections"
    )


def _table(rows: Sequence[Sequence[str]]) -> list[str]:
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    return [
        "  " + "  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip() for row in rows
    ]
