"""Embedder: the vectors of queries and passages, each with the prompt that the model defines for it."""

import hashlib
import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from millpond import __version__
from millpond.types.params import PoolingParams
from millpond.types.prompts import PROMPT_NAMES
from millpond_checkpoints.file_hashes import file_hashes
from millpond_cli.io.interrupts import TerminatedError
from millpond_cli.io.rows import Row
from millpond_command.cli import CommandError
from millpond_command.progress import Progress, call_progress

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from millpond.llm import LLM
    from millpond.types.outputs import PoolingRequestOutput

    Vectors = NDArray[np.float32]

ROWS_PER_CALL = 1024
QUERY, DOCUMENT = "query", "document"
WITHOUT_EFFECT = {
    "device",
    "devices",
    "kernels",
    "batch_invariant",
    "cache",
    "cache_size",
    "max_num_batched_tokens",
    "enable_prefix_caching",
    "data_parallel_size",
    "trust_remote_code",
}
"""Arguments of ``LLM`` that change vectors by rounding at most."""


@dataclass(kw_only=True)
class Embedder:
    """Embeds queries and passages.

    Attributes:
        llm: The model.
        arguments: The arguments that it was loaded with.
        query_prompt: Text before queries; None for the model's prompt for queries, if it has one.
        document_prompt: The same for passages.
        dimensions: The number of dimensions to keep; None for all.
        report: Called with the row and the message of each passage that fails, which then gets a vector of NaN.
        truncated: The number of passages that were truncated.
        interruption: The exception that ended `passages` early; None if nothing did.
    """

    llm: "LLM"
    arguments: Mapping[str, Any]
    query_prompt: str | None
    document_prompt: str | None
    dimensions: int | None
    report: Callable[[Row, str], None]
    truncated: int = 0
    interruption: BaseException | None = field(default=None, init=False)

    def query(self, text: str) -> "Vectors":
        """Return the vector of a query, [dim]."""
        (output,) = self._embed([text], QUERY, on_error="raise", use_tqdm=False)
        vector: Vectors = output.outputs.array
        return vector

    def passages(self, rows: Sequence[Row], progress: Progress) -> "Iterator[Vectors]":
        """Yield the vectors of passages in blocks, [num_rows, dim]. Ends early if a signal interrupts it."""
        try:
            for start in range(0, len(rows), ROWS_PER_CALL):
                yield self.block(rows[start : start + ROWS_PER_CALL], progress)
        except (KeyboardInterrupt, TerminatedError) as error:
            self.interruption = error

    def fingerprint(self) -> str:
        """Return a hash of everything that changes vectors by more than rounding."""
        model = self.llm.model_config
        facts = {
            "version": __version__,
            "files": dict(file_hashes(Path(model.identity.path))),
            "settings": [repr(it) for it in (model.pooler_config, model.text, model.embedding, model.prompting)],
            "arguments": {name: value for name, value in self.arguments.items() if name not in WITHOUT_EFFECT},
            "prompt": self._prompt(DOCUMENT),
            "dimensions": self.dimensions,
        }
        return hashlib.sha256(json.dumps(facts, sort_keys=True, default=str).encode()).hexdigest()

    def block(self, rows: Sequence[Row], progress: Progress) -> "Vectors":
        """Return the vectors of some passages, [num_rows, dim]."""
        bar = call_progress(progress, len(rows))
        outputs = self._embed([row.text for row in rows], DOCUMENT, on_error="return", use_tqdm=bar)
        self.truncated += sum(output.truncated for output in outputs if output.error is None)
        for row, output in zip(rows, outputs, strict=True):
            if output.error is not None:
                self.report(row, str(getattr(output.error, "message", output.error)))
        size = next((output.outputs.array.size for output in outputs if output.error is None), self._size())
        missing = np.full(size, np.nan, np.float32)
        return np.stack([missing if output.error is not None else output.outputs.array for output in outputs])

    def _size(self) -> int:
        size = self.dimensions or self.llm.model_config.embedding_size
        if size is None:
            message = "no passage could be embedded"
            raise CommandError(message)
        return size

    def _embed(self, texts: list[str], role: str, **options: Any) -> "list[PoolingRequestOutput[Any]]":
        options |= {"truncate_prompt_tokens": -1, **self._prompt(role)}
        return self.llm.encode(texts, PoolingParams(dimensions=self.dimensions), pooling_task="embed", **options)

    def _prompt(self, role: str) -> dict[str, str]:
        """Return the arguments of a call that select the prompt of queries or passages."""
        prompt = self.query_prompt if role == QUERY else self.document_prompt
        config = self.llm.model_config
        has_types = config.retrieval.static_query_weights is not None or config.retrieval.routes
        options = {"input_type": role} if has_types else {}
        if prompt is not None:
            return {**options, "prompt": prompt}
        if options:
            return options
        name = next((name for name in PROMPT_NAMES[role] if name in config.prompting.prompts), None)
        return {} if name is None else {"prompt_name": name}
