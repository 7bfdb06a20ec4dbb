"""Names the architectures that Millpond comes with."""

from collections.abc import Iterator

from millpond.hookspecs import hookimpl
from millpond.specs import ArchitectureSpec

EMBEDDING_TASKS = ("embed", "token_embed")


@hookimpl
def register_architectures() -> Iterator[ArchitectureSpec]:
    """BERT and its relatives."""
    yield ArchitectureSpec(
        name="BertModel",
        target="millpond_models.bert:BertModel",
        summary="BERT (Devlin et al., 2018) and the many models of its form",
        tasks=EMBEDDING_TASKS,
        pooling="CLS",
        positions="absolute",
    )
    for name in ("RobertaModel", "XLMRobertaModel"):
        yield ArchitectureSpec(
            name=name,
            target="millpond_models.roberta:RobertaModel",
            summary="BERT whose positions start behind the padding id",
            tasks=EMBEDDING_TASKS,
            pooling="CLS",
            positions="absolute_after_pad",
        )
