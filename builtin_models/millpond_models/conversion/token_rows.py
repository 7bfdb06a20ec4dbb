"""Collects rows of the LM head from a checkpoint while it is read, without keeping the head."""

import re
from collections.abc import Iterable, Iterator, Sequence

from torch import Tensor

from millpond.context import Context
from millpond.types.config import CheckpointConfig
from millpond.types.errors import CheckpointError

LM_HEAD = re.compile(r"(?:(?:.*\.)?(?:lm_head|embed_out)|output)\.(weight|bias)")
WORD_EMBEDDINGS = re.compile(r"(?:.*\.)?(?:embed_tokens|tok_embeddings|word_embeddings|embed_in|wte)\.weight")
METHODS = ("from_2_way_softmax", "no_post_processing")


class TokenRows:
    """The rows of some tokens, with their biases if the LM head has any.

    Args:
        token_ids: The tokens.
        tied: ``tie_word_embeddings`` of config.json: True to use the word embeddings, False to use the LM head. With
            None, the LM head is used if the checkpoint has one, else the word embeddings.
        parameter: The setting that names the tokens, for error messages.
    """

    def __init__(self, token_ids: Sequence[int], *, tied: bool | None, parameter: str) -> None:
        self.token_ids = list(token_ids)
        self.tied = tied
        self.parameter = parameter
        self.rows: dict[str, Tensor] = {}

    def collect(self, weights: Iterable[tuple[str, Tensor]]) -> Iterator[tuple[str, Tensor]]:
        """Yield the weights unchanged and copy the rows of the tokens."""
        for name, tensor in weights:
            head = LM_HEAD.fullmatch(name)
            source = head[1] if head else "embeddings" if WORD_EMBEDDINGS.fullmatch(name) else None
            if source is not None:
                self.rows[source] = self._select(name, tensor)
            yield name, tensor

    @property
    def weight(self) -> Tensor:
        """[num_tokens, hidden_size], float32, available after all weights have been read.

        Raises:
            CheckpointError: If the checkpoint has neither an LM head nor tied embeddings.
        """
        sources = {True: ("embeddings",), False: ("weight",), None: ("weight", "embeddings")}[self.tied]
        rows = next((self.rows[source] for source in sources if source in self.rows), None)
        if rows is None:
            missing = "word embeddings" if self.tied else "lm_head.weight"
            message = f"{self.parameter} requires rows of the LM head, but the checkpoint has no {missing}"
            raise CheckpointError(message)
        return rows

    @property
    def bias(self) -> Tensor | None:
        """[num_tokens], float32; None if the head has no bias."""
        return self.rows.get("bias")

    def _select(self, name: str, tensor: Tensor) -> Tensor:
        num_rows = tensor.shape[0] if tensor.dim() else 0
        if max(self.token_ids) >= num_rows:
            message = (
                f"{self.parameter}: token ID {max(self.token_ids)} is out of range: the checkpoint's {name!r} has "
                f"{num_rows} rows"
            )
            raise CheckpointError(message)
        return tensor[self.token_ids].float()


def classifier_tokens(ctx: Context) -> tuple[int, ...]:
    """Return the IDs of the tokens whose rows are the classifier; empty if config.json does not name any.

    Raises:
        CheckpointError: If an entry is not exactly one token, or the number of tokens does not fit ``method``.
    """
    config = ctx.config
    for key in ("classifier_from_token", "classifier_from_token_ids"):
        tokens = config.get(key)
        if tokens is None:
            continue
        if not isinstance(tokens, list | tuple) or not tokens:
            message = f"{key} must be a list of {'token IDs' if key.endswith('ids') else 'tokens'}; got {tokens!r}"
            raise CheckpointError(message)
        ids = tuple(_check_id(token, key) if key.endswith("ids") else _token_id(ctx, token) for token in tokens)
        _check_method(config, key, len(ids))
        return ids
    return ()


def combine_rows(config: CheckpointConfig, rows: Tensor) -> Tensor:
    """Return the rows of the classifier, [num_labels, ...]: the token rows, or the difference of two.

    The sigmoid of the second logit minus the first is the probability of the second in a softmax over both.
    """
    return rows[1:] - rows[:1] if _is_two_way(config) else rows


def tied_embeddings(config: CheckpointConfig) -> bool | None:
    """Return ``tie_word_embeddings``; None if it is missing, because its default differs between architectures.

    Raises:
        CheckpointError: If it is not a boolean.
    """
    tied = config.get("tie_word_embeddings")
    if tied is not None and not isinstance(tied, bool):
        message = f"config.json: tie_word_embeddings must be true or false; got {tied!r}"
        raise CheckpointError(message)
    return tied


def _is_two_way(config: CheckpointConfig) -> bool:
    """True if the score is the difference of the logits of two tokens, "true" minus "false"."""
    return config.get("method") == "from_2_way_softmax" or bool(config.get("is_original_qwen3_reranker"))


def _check_method(config: CheckpointConfig, key: str, count: int) -> None:
    method = config.get("method")
    if method not in (None, *METHODS):
        message = f"{key}: unknown method {method!r}. Available: {', '.join(METHODS)}"
        raise CheckpointError(message)
    if _is_two_way(config) and count != 2:  # noqa: PLR2004  false and true
        setting = "is_original_qwen3_reranker" if method is None else f"method={method!r}"
        message = f"{key}: {setting} requires two tokens, for false and for true; got {count}"
        raise CheckpointError(message)


def _check_id(token_id: object, key: str) -> int:
    if isinstance(token_id, bool) or not isinstance(token_id, int) or token_id < 0:
        message = f"{key} must be a list of token IDs; got {token_id!r}"
        raise CheckpointError(message)
    return token_id


def _token_id(ctx: Context, token: object) -> int:
    if not isinstance(token, str):
        message = f"classifier_from_token must be a list of tokens as text; got {token!r}"
        raise CheckpointError(message)
    if ctx.tokenizer is None:
        message = (
            f"classifier_from_token={token!r} needs the model's tokenizer, which is not loaded: set "
            "classifier_from_token_ids instead"
        )
        raise CheckpointError(message)
    token_id = ctx.tokenizer.backend.token_to_id(token)
    if token_id is not None:
        return token_id
    ids = ctx.tokenizer.encode_batch([token], add_special_tokens=False)[0].ids
    if len(ids) == 1 and ctx.tokenizer.decode(ids) == token:
        return int(ids[0])
    message = (
        f"classifier_from_token: {token!r} must be a single token, but the model's tokenizer splits it into "
        f"{len(ids)}: {ids}. Set classifier_from_token_ids instead"
    )
    raise CheckpointError(message)
