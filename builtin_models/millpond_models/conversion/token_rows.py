"""Rows of the head that predicts tokens, taken out of a checkpoint while it is read: the head itself is not kept."""

import re
from collections.abc import Iterable, Iterator, Sequence

from torch import Tensor

from millpond.context import Context
from millpond.loading.classification import is_two_way
from millpond.types.config import CheckpointConfig
from millpond.types.errors import CheckpointError

HEAD = re.compile(r"(?:(?:.*\.)?(?:lm_head|embed_out)|output)\.(weight|bias)")
EMBEDDINGS = re.compile(r"(?:.*\.)?(?:embed_tokens|tok_embeddings|word_embeddings|embed_in|wte)\.weight")
METHODS = ("from_2_way_softmax", "no_post_processing")
TWO = 2


class TokenRows:
    """The rows of some tokens, and their biases if there are any.

    Args:
        token_ids: The tokens.
        tied: ``tie_word_embeddings`` of config.json: whether the table of embeddings is the head. None takes the head
            if the checkpoint has one, else the table.
        parameter: What named the tokens, for errors.
    """

    def __init__(self, token_ids: Sequence[int], *, tied: bool | None, parameter: str) -> None:
        self.token_ids = list(token_ids)
        self.tied = tied
        self.parameter = parameter
        self.found: dict[str, Tensor] = {}

    def watch(self, weights: Iterable[tuple[str, Tensor]]) -> Iterator[tuple[str, Tensor]]:
        """The same weights, of which the rows are copied as they pass by."""
        for name, tensor in weights:
            head = HEAD.fullmatch(name)
            kind = head[1] if head else "embeddings" if EMBEDDINGS.fullmatch(name) else None
            if kind is not None:
                self.found[kind] = self._rows(name, tensor)
            yield name, tensor

    @property
    def weight(self) -> Tensor:
        """[number of tokens, hidden], float32, once the checkpoint has been read.

        Raises:
            CheckpointError: If it has nothing that they could be rows of.
        """
        kinds = {True: ("embeddings",), False: ("weight",), None: ("weight", "embeddings")}[self.tied]
        found = next((self.found[kind] for kind in kinds if kind in self.found), None)
        if found is None:
            missing = "no table of embeddings" if self.tied else "no lm_head.weight"
            message = f"{self.parameter} takes rows of the head that predicts tokens, and the checkpoint has {missing}"
            raise CheckpointError(message)
        return found

    @property
    def bias(self) -> Tensor | None:
        """[number of tokens], float32; None if the head has none."""
        return self.found.get("bias")

    def _rows(self, name: str, tensor: Tensor) -> Tensor:
        rows = tensor.shape[0] if tensor.dim() else 0
        if max(self.token_ids) >= rows:
            message = f"{self.parameter}: {max(self.token_ids)} is no token, the checkpoint's {name!r} has {rows}"
            raise CheckpointError(message)
        return tensor[self.token_ids].float()


def classifier_tokens(ctx: Context) -> tuple[int, ...]:
    """The tokens that config.json makes a classifier of; none if it does not.

    Raises:
        CheckpointError: If one of them is not exactly one token, or they do not fit their ``method``.
    """
    config = ctx.config
    for key in ("classifier_from_token", "classifier_from_token_ids"):
        given = config.get(key)
        if given is None:
            continue
        if not isinstance(given, list | tuple) or not given:
            message = f"{key} must be a list of {'token ids' if key.endswith('ids') else 'tokens'}; got {given!r}"
            raise CheckpointError(message)
        ids = tuple(_known_id(one, key) if key.endswith("ids") else _id_of(ctx, one) for one in given)
        _check_method(config, key, len(ids))
        return ids
    return ()


def combined(config: CheckpointConfig, rows: Tensor) -> Tensor:
    """The rows of a classifier, [num_labels, ...]: those of the tokens, or of two the second less the first.

    The sigmoid of that difference is the share of the second in the softmax over both.
    """
    return rows[1:] - rows[:1] if is_two_way(config) else rows


def tied_embeddings(config: CheckpointConfig) -> bool | None:
    """``tie_word_embeddings``; None where config.json does not say, for its default differs among architectures.

    Raises:
        CheckpointError: If it is neither true nor false.
    """
    tied = config.get("tie_word_embeddings")
    if tied is not None and not isinstance(tied, bool):
        message = f"config.json: tie_word_embeddings must be true or false; got {tied!r}"
        raise CheckpointError(message)
    return tied


def _check_method(config: CheckpointConfig, key: str, count: int) -> None:
    method = config.get("method")
    if method not in (None, *METHODS):
        message = f"method={method!r} is not known, beside {key} it is one of {', '.join(METHODS)}"
        raise CheckpointError(message)
    if is_two_way(config) and count != TWO:
        what = "is_original_qwen3_reranker" if method is None else f"method={method!r}"
        message = f"{key}: {what} takes two tokens, for false and for true; got {count}"
        raise CheckpointError(message)


def _known_id(given: object, key: str) -> int:
    if isinstance(given, bool) or not isinstance(given, int) or given < 0:
        message = f"{key} must be a list of token ids; got {given!r}"
        raise CheckpointError(message)
    return given


def _id_of(ctx: Context, token: object) -> int:
    if not isinstance(token, str):
        message = f"classifier_from_token must be a list of tokens as text; got {token!r}"
        raise CheckpointError(message)
    if ctx.tokenizer is None:
        message = (
            f"classifier_from_token={token!r} needs the model's tokenizer, and none is loaded: name the ids with "
            "classifier_from_token_ids"
        )
        raise CheckpointError(message)
    known = ctx.tokenizer.backend.token_to_id(token)
    if known is not None:
        return known
    ids = ctx.tokenizer.encode_batch([token], add_special_tokens=False)[0].ids
    if len(ids) == 1 and ctx.tokenizer.decode(ids) == token:
        return int(ids[0])
    message = (
        f"classifier_from_token: {token!r} is not one token of the model's tokenizer, which makes {len(ids)} of it: "
        f"{ids}. Name one by its id with classifier_from_token_ids"
    )
    raise CheckpointError(message)
