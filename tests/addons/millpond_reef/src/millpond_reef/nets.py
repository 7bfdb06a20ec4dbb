"""The nets of Reef: the hidden state of a token is its word vector, whatever else the net has."""

from collections.abc import Mapping, Sequence
from typing import Any, ClassVar

from torch import Tensor, nn

from millpond.context import ModelContext
from millpond.nn import PackedBatch, PoolingModel
from millpond.plugin.specs import ArchitectureSpec, PoolingDefaults


class ReefNet(PoolingModel):
    """Word vectors."""

    weight_names: ClassVar[Sequence[tuple[str, str]]] = ((r"embeddings\.word_embeddings\.weight", r"words.weight"),)
    ignored_weights: ClassVar[Sequence[str]] = (r"embeddings\.(?!word).*", r"encoder\..*")

    def __init__(self, ctx: ModelContext) -> None:
        super().__init__(ctx)
        self.words = nn.Embedding(ctx.config.vocab_size, ctx.config.hidden_size)

    def forward(self, batch: PackedBatch) -> Tensor:
        """A batch -> [num_tokens, hidden]."""
        rows: Tensor = self.words(batch.input_ids)
        return rows


def resolve(name: str, config: Mapping[str, Any]) -> ArchitectureSpec | str:
    """Return the record of a net; text for a frozen one."""
    if config.get("frozen"):
        return f"Reef cannot run {name}: it is frozen"
    return ArchitectureSpec(name=name, target=ReefNet, tasks=("embed",), pooling=PoolingDefaults("MEAN"))
