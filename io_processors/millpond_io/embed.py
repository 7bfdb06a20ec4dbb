"""The IO processor of the embedding tasks: text or token ids to one vector, or to one vector a token."""

from millpond.errors import InvalidInputError
from millpond.params import PoolingParams
from millpond_io.text import TextProcessor


class EmbedProcessor(TextProcessor):
    """Text or token ids to vectors: one a prompt or one a token, as the task's pooler makes them."""

    def pooling_params(self, given: PoolingParams | None) -> PoolingParams:
        """What was asked, completed by the model's config and checked against it."""
        completed = self.completed(given, supported=("use_activation", "dimensions"))
        self._check_dimensions(completed.dimensions)
        return completed

    def _check_dimensions(self, asked: int | None) -> None:
        model, size = self.ctx.model, self.ctx.model.embedding_size
        if asked is None or asked == size:
            return
        if not model.is_matryoshka:
            message = (
                f'Model "{model.model}" does not support matryoshka representation, changing output dimensions will '
                f"lead to poor results. dimensions={asked} was asked for; the model has {size}. If it was trained for "
                "it, say so with hf_overrides={'is_matryoshka': True} or {'matryoshka_dimensions': [...]}"
            )
            raise InvalidInputError(message, parameter="dimensions")
        if size is not None and asked > size:
            message = f"Model '{model.model}' only supports dimensions in range [1, {size}], got {asked}."
            raise InvalidInputError(message, parameter="dimensions")
        trained = model.matryoshka_dimensions
        if trained and asked not in trained:
            message = f"Model '{model.model}' only supports Matryoshka dimensions {list(trained)}, got {asked}."
            raise InvalidInputError(message, parameter="dimensions")
