"""StaticEmbedding: a row for each token, whatever stands beside it; of sentence-transformers, and of model2vec."""

from collections.abc import Iterable, Iterator, Sequence
from typing import ClassVar

from torch import Tensor

from millpond.context import Context
from millpond.nn import PackedBatch, PoolingModel
from millpond.nn.weight_loading import LoadedWeights
from millpond.types.errors import CheckpointError
from millpond_models.layers.embeddings import Table

TABLE, MAPPING, WEIGHTS = "embeddings", "mapping", "weights"


class StaticEmbedding(PoolingModel):
    """A table; texts are the means of their tokens' rows."""

    weight_names: ClassVar[Sequence[tuple[str, str]]] = ((r"embedding\.weight|embeddings", r"table.weight"),)

    def __init__(self, ctx: Context) -> None:
        super().__init__(ctx)
        rows = ctx.config.vocab_size
        tokens = 0 if ctx.tokenizer is None else ctx.tokenizer.backend.get_vocab_size()
        if tokens > rows:
            message = (
                f"the tokenizer knows {tokens} tokens, and the table has rows for {rows}: they are not of one model"
            )
            raise CheckpointError(message)
        self.table = Table(rows, ctx.config.hidden_size)

    def forward(self, batch: PackedBatch) -> Tensor:
        """A batch -> [num_tokens, hidden]."""
        rows: Tensor = self.table(batch.input_ids)
        return rows

    def load_weights(self, weights: Iterable[tuple[str, Tensor]]) -> LoadedWeights:
        """Give the table its values; see ``PoolingModel``."""
        return super().load_weights(folded(weights))


def folded(weights: Iterable[tuple[str, Tensor]]) -> Iterator[tuple[str, Tensor]]:
    """The tensors of a checkpoint, those of model2vec as one: ``embeddings[mapping] * weights``.

    Tokens may share rows (``mapping``), and rows may be given weights.

    Raises:
        CheckpointError: If the mapping names rows that are not there, or the weights are not one a token.
    """
    parts: dict[str, Tensor] = {}
    for name, tensor in weights:
        if name in (TABLE, MAPPING, WEIGHTS):
            parts[name] = tensor
        else:
            yield name, tensor
    table, mapping, shares = (parts.get(name) for name in (TABLE, MAPPING, WEIGHTS))
    if table is None:
        yield from parts.items()
        return
    if mapping is not None:
        if mapping.numel() and not 0 <= int(mapping.min()) <= int(mapping.max()) < len(table):
            message = f"the checkpoint's {MAPPING!r} names rows from {int(mapping.min())} to {int(mapping.max())}; "
            raise CheckpointError(message + f"{TABLE!r} has {len(table)}")
        table = table[mapping.long()]
    if shares is not None:
        if shares.shape != table.shape[:1]:
            message = f"the checkpoint's {WEIGHTS!r} has the shape {list(shares.shape)}, for {len(table)} tokens"
            raise CheckpointError(message)
        table = table.float() * shares.float().unsqueeze(1)
    yield TABLE, table
