"""StaticEmbedding: context-independent token embeddings of sentence-transformers and model2vec."""

from collections.abc import Iterable, Iterator, Sequence
from typing import ClassVar

from torch import Tensor

from millpond.context import Context
from millpond.nn import LoadedWeights, PackedBatch, PoolingModel
from millpond.types.errors import CheckpointError
from millpond_models.layers.embeddings import Embedding

EMBEDDINGS, MAPPING, WEIGHTS = "embeddings", "mapping", "weights"  # tensors of model2vec


class StaticEmbedding(PoolingModel):
    """An embedding table; the embedding of a text is the mean of its tokens' embeddings."""

    weight_names: ClassVar[Sequence[tuple[str, str]]] = ((r"embedding\.weight|embeddings", r"embedding.weight"),)

    def __init__(self, ctx: Context) -> None:
        super().__init__(ctx)
        rows = ctx.config.vocab_size
        tokens = 0 if ctx.tokenizer is None else ctx.tokenizer.backend.get_vocab_size()
        if tokens > rows:
            message = (
                f"the tokenizer has {tokens} tokens, but the embedding table has {rows} rows: they belong to different "
                "models"
            )
            raise CheckpointError(message)
        self.embedding = Embedding(rows, ctx.config.hidden_size)

    def forward(self, batch: PackedBatch) -> Tensor:
        """A batch -> [num_tokens, hidden_size]."""
        embeddings: Tensor = self.embedding(batch.input_ids)
        return embeddings

    def load_weights(self, weights: Iterable[tuple[str, Tensor]]) -> LoadedWeights:
        """Load the embedding table; see ``PoolingModel``."""
        return super().load_weights(fold_model2vec(weights))


def fold_model2vec(weights: Iterable[tuple[str, Tensor]]) -> Iterator[tuple[str, Tensor]]:
    """Yield the tensors of a checkpoint, with those of model2vec combined: ``embeddings[mapping] * weights``.

    ``mapping`` lets tokens share rows; ``weights`` has one factor per token.

    Raises:
        CheckpointError: If the mapping contains invalid rows, or there is not one weight per token.
    """
    tensors: dict[str, Tensor] = {}
    for name, tensor in weights:
        if name in (EMBEDDINGS, MAPPING, WEIGHTS):
            tensors[name] = tensor
        else:
            yield name, tensor
    embeddings, mapping, factors = (tensors.get(name) for name in (EMBEDDINGS, MAPPING, WEIGHTS))
    if embeddings is None:
        yield from tensors.items()
        return
    if mapping is not None:
        if mapping.numel() and not 0 <= int(mapping.min()) <= int(mapping.max()) < len(embeddings):
            message = (
                f"the checkpoint's {MAPPING!r} contains rows from {int(mapping.min())} to {int(mapping.max())}, but "
                f"{EMBEDDINGS!r} has {len(embeddings)} rows"
            )
            raise CheckpointError(message)
        embeddings = embeddings[mapping.long()]
    if factors is not None:
        if factors.shape != embeddings.shape[:1]:
            message = (
                f"Shape mismatch for {WEIGHTS!r}: the checkpoint has {list(factors.shape)}, expected "
                f"[{len(embeddings)}], one weight per token"
            )
            raise CheckpointError(message)
        embeddings = embeddings.float() * factors.float().unsqueeze(1)
    yield EMBEDDINGS, embeddings
