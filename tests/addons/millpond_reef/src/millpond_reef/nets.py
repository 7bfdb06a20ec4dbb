"""The models of Reef: the hidden state of a token is its word embedding; other layers are ignored."""

from collections.abc import Mapping, Sequence
from typing import Any, ClassVar

from torch import Tensor, nn

from millpond.context import ModelContext
from millpond.nn import PackedBatch, PoolingModel
from millpond.plugin.specs import ArchitectureSpec, PoolingDefaults


class ReefNet(PoolingModel):
    """A model with only word embeddings."""

    weight_names: ClassVar[Sequence[tuple[str, str]]] = (
        (r"embeddings\.word_embeddings\.weight", r"word_embeddings.weight"),
    )
    ignored_weights: ClassVar[Sequence[str]] = (r"embeddings\.(?!word).*", r"encoder\..*")

    def __init__(self, ctx: ModelContext) -> None:
        super().__init__(ctx)
        self.word_embeddings = nn.Embedding(ctx.config.vocab_size, ctx.config.hidden_size)

    def forward(self, batch: PackedBatch) -> Tensor:
        """Return the word embeddings: [num_tokens, hidden]."""
        rows: Tensor = self.word_embeddings(batch.input_ids)
        return rows


def resolve(name: str, config: Mapping[str, Any]) -> ArchitectureSpec | str:
    """Return the record of a model, or the reason for refusing a frozen one."""
    if config.get("frozen"):
        return f"Reef cannot run {name}: it is frozen"
    return ArchitectureSpec(name=name, target=ReefNet, tasks=("embed",), pooling=PoolingDefaults("MEAN"))
