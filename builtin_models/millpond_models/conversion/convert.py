"""Converters of generative and other checkpoints to embedding models, classifiers and process reward models."""

import re
from collections.abc import Iterable, Iterator
from typing import Any

import torch
from torch import Tensor, nn

from millpond.context import Context
from millpond.nn import Linear, LoadedWeights, PoolingModel, load_parameter
from millpond.types.config import CheckpointConfig
from millpond.types.errors import CheckpointError, InvalidInputError
from millpond_modeling.classifier import LogitScaling
from millpond_models.conversion.skip_padding import SkipTrailingPadding
from millpond_models.conversion.token_rows import (
    LM_HEAD,
    WORD_EMBEDDINGS,
    TokenRows,
    classifier_tokens,
    combine_rows,
    tied_embeddings,
)
from millpond_models.heads.classifier import Classifier
from millpond_models.heads.token_probabilities import DynamicTokenHead, FixedTokenHead

ANY_HEAD = re.compile(
    r"(?:\w+\.)?(?:lm_head|embed_out|score|classifier|pooler|v_head|cls)\..*"
    r"|(?:head|pre_classifier|dense|out_proj)\..*|output\.(?:weight|bias)"
)
SCORE = re.compile(r"(?:model\.|language_model\.)*score\.(weight|bias)")
STEP_TASK = "token_classify"


def as_embedding(model_class: type[PoolingModel], ctx: Context) -> type[PoolingModel]:
    """Return the model without its head, for pooling its hidden states."""
    del ctx
    return _combine(EmbeddingModel, model_class)


def as_classifier(model_class: type[PoolingModel], ctx: Context) -> type[PoolingModel]:
    """Return the model with a classifier, by default a linear layer that the checkpoint names ``score``.

    With ``classifier_from_token`` or ``classifier_from_token_ids`` in config.json, the classifier consists of rows of
    the LM head. If the output size of the checkpoint's Dense modules is the number of labels, as in a CrossEncoder of
    sentence-transformers, they are the classifier. A model with its own classifier is not changed.
    """
    if issubclass(model_class, Classifier):
        return model_class
    if classifier_tokens(ctx):
        return _combine(VocabularyClassifier, model_class)
    layers: Any = ctx.rows_after_pooling
    size = None if layers is None else layers[-1].out_features
    return _combine(DenseClassifier if size == ctx.model.classification.num_labels else ScoreClassifier, model_class)


def as_process_reward(model_class: type[PoolingModel], ctx: Context) -> type[PoolingModel]:
    """Return a causal language model that rates steps by the logits of some tokens at the end of each step.

    Raises:
        InvalidInputError: If the pooling type is not STEP.
    """
    pooling = ctx.pooling_type(STEP_TASK)
    if pooling != "STEP":
        message = (
            f"a process reward model based on a causal language model requires the pooling type STEP; got {pooling}. "
            "Set pooler_config={'pooling_type': 'STEP', 'step_tag_id': ..., 'returned_token_ids': [...]}"
        )
        raise InvalidInputError(message, parameter="pooler_config")
    return _combine(FixedTokenLogits if ctx.pooler_config.returned_token_ids else DynamicTokenLogits, model_class)


def _combine(mixin: type[PoolingModel], model_class: type[PoolingModel]) -> type[PoolingModel]:
    """Return a subclass of both with the name of the model class."""
    return type(model_class.__name__, (mixin, model_class), {"__doc__": mixin.__doc__})


class HeadlessModel(PoolingModel):
    """A model without its LM head."""

    def parameter_name(self, name: str) -> str | None:
        """Return the parameter's name; None for the LM head."""
        return None if LM_HEAD.fullmatch(name) else super().parameter_name(name)


class EmbeddingModel(HeadlessModel):
    """An embedding model, without any head."""

    def parameter_name(self, name: str) -> str | None:
        """Return the parameter's name; None for heads."""
        return None if ANY_HEAD.fullmatch(name) else super().parameter_name(name)

    def build_pooler(self, ctx: Context, task: str) -> nn.Module:
        """Build the configured pooler instead of the model's own."""
        return ctx.pooler(task)


class ScoreClassifier(HeadlessModel, Classifier):
    """A model with a linear classifier named ``score`` in the checkpoint, with a bias if the checkpoint has one."""

    def build_classifier(self, ctx: Context) -> nn.Module:
        """Build a linear layer without bias."""
        return Linear(ctx, hidden_size(ctx.config), ctx.model.classification.num_labels, bias=False)

    def build_pooler(self, ctx: Context, task: str) -> nn.Module:
        """Build the pooler of a task; LAST skips trailing padding, as transformers does."""
        pooler, pad_id = super().build_pooler(ctx, task), ctx.config.of_text.get("pad_token_id")
        is_last = task == "classify" and ctx.pooling_type(task) == "LAST"
        return SkipTrailingPadding(pooler, pad_id) if is_last and isinstance(pad_id, int) else pooler

    def parameter_name(self, name: str) -> str | None:
        """Return the parameter's name; ``score`` is the classifier."""
        match = SCORE.fullmatch(name)
        return super().parameter_name(name) if match is None else f"classifier.{match[1]}"

    def load_weights(self, weights: Iterable[tuple[str, Tensor]]) -> LoadedWeights:
        """Load the parameters; see ``PoolingModel``.

        Raises:
            CheckpointError: If the checkpoint has no classifier.
        """
        loaded = super().load_weights(self._with_bias(weights))
        if "classifier.weight" not in loaded.names:
            shape = [self.ctx.model.classification.num_labels, hidden_size(self.ctx.config)]
            message = (
                f"{self.ctx.model.architecture!r} was requested as a classifier (convert='classify'), but its "
                f"checkpoint has none: missing (1): score.weight {shape}. Without convert, it is loaded as it is"
            )
            raise CheckpointError(message)
        return loaded

    def _with_bias(self, weights: Iterable[tuple[str, Tensor]]) -> Iterator[tuple[str, Tensor]]:
        """Yield the weights, adding a bias to the classifier if they contain one."""
        for name, tensor in weights:
            if self.parameter_name(name) == "classifier.bias":
                add_bias(self.classifier, self.ctx.model.classification.num_labels)
            yield name, tensor


class VocabularyClassifier(HeadlessModel, Classifier):
    """A model whose classifier consists of rows of the LM head."""

    def build_classifier(self, ctx: Context) -> nn.Module:
        """Build a linear layer without bias."""
        return Linear(ctx, hidden_size(ctx.config), ctx.model.classification.num_labels, bias=False)

    def load_weights(self, weights: Iterable[tuple[str, Tensor]]) -> LoadedWeights:
        """Load the parameters, then the classifier from the collected rows."""
        config = self.ctx.config
        rows = TokenRows(classifier_tokens(self.ctx), tied=tied_embeddings(config), parameter="classifier_from_token")
        loaded = super().load_weights(rows.collect(weights))
        bias = None if rows.bias is None else combine_rows(config, rows.bias)
        load_linear(self, loaded, "classifier", combine_rows(config, rows.weight), bias)
        return loaded


class DenseClassifier(HeadlessModel, Classifier):
    """A model whose classifier is the checkpoint's Dense modules."""

    def build_classifier(self, ctx: Context) -> nn.Module:
        """Return the Dense modules."""
        return nn.Identity() if ctx.rows_after_pooling is None else ctx.rows_after_pooling


class FixedTokenLogits(HeadlessModel):
    """Logits of the tokens in the pooler config; only their rows of the LM head are kept."""

    def build_pooler(self, ctx: Context, task: str) -> nn.Module:
        """Build the pooler with a softmax over the tokens."""
        token_ids = ctx.pooler_config.returned_token_ids or ()
        self.tokens = FixedTokenHead(ctx.for_head(), size=hidden_size(ctx.config), token_ids=token_ids)
        return ctx.pooler(task, head=LogitScaling(ctx, self.tokens), activation="softmax")

    def load_weights(self, weights: Iterable[tuple[str, Tensor]]) -> LoadedWeights:
        """Load the parameters, then the head from the collected rows."""
        token_ids = tuple(self.tokens.rows)
        rows = TokenRows(token_ids, tied=tied_embeddings(self.ctx.config), parameter="returned_token_ids")
        loaded = super().load_weights(rows.collect(weights))
        load_linear(self, loaded, "tokens.linear", rows.weight, rows.bias)
        return loaded


class DynamicTokenLogits(PoolingModel):
    """Logits of the tokens that each request selects; the LM head is kept, or shared with the word embeddings."""

    def build_pooler(self, ctx: Context, task: str) -> nn.Module:
        """Build the pooler with a softmax over the tokens."""
        size, vocab_size = hidden_size(ctx.config), ctx.config.of_text.vocab_size
        self.tokens = DynamicTokenHead(ctx.for_head(), size=size, vocab_size=vocab_size, dtype=ctx.weight_dtype)
        return ctx.pooler(task, head=LogitScaling(ctx, self.tokens), activation="softmax")

    def parameter_name(self, name: str) -> str | None:
        """Return the parameter's name; None for the weight of the LM head if it is tied to the word embeddings."""
        match = LM_HEAD.fullmatch(name)
        if match is None:
            return super().parameter_name(name)
        return None if match[1] == "weight" and tied_embeddings(self.ctx.config) else f"tokens.{match[1]}"

    def load_weights(self, weights: Iterable[tuple[str, Tensor]]) -> LoadedWeights:
        """Load the parameters; see ``PoolingModel``.

        Raises:
            CheckpointError: If the checkpoint has no LM head and its embeddings are not tied.
        """
        embeddings: list[str] = []
        loaded = super().load_weights(self._collect(weights, embeddings))
        if "tokens.weight" in loaded.names:
            return loaded
        if not embeddings or tied_embeddings(self.ctx.config) is False:
            message = (
                "a process reward model based on a causal language model needs its LM head, but the checkpoint has no "
                "lm_head.weight"
            )
            raise CheckpointError(message)
        self.tokens.weight = self.get_parameter(embeddings[0])
        loaded.names.add("tokens.weight")
        return loaded

    def _collect(self, weights: Iterable[tuple[str, Tensor]], embeddings: list[str]) -> Iterator[tuple[str, Tensor]]:
        """Yield the weights; append the parameter names of word embeddings, and add a bias to the head if needed."""
        for name, tensor in weights:
            target = self.parameter_name(name)
            if WORD_EMBEDDINGS.fullmatch(name) and target is not None:
                embeddings.append(target)
            if target == "tokens.bias":
                add_bias(self.tokens, self.ctx.config.of_text.vocab_size)
            yield name, tensor


def hidden_size(config: CheckpointConfig) -> int:
    """Return ``hidden_size`` or ``n_embd``."""
    text = config.of_text
    size: int = text.n_embd if text.get("hidden_size") is None else text.hidden_size
    return size


def add_bias(module: nn.Module, size: int) -> None:
    """Add a bias without memory to a module that was built without one."""
    module.bias = nn.Parameter(torch.empty(size, device="meta"), requires_grad=False)


def load_linear(model: PoolingModel, loaded: LoadedWeights, path: str, weight: Tensor, bias: Tensor | None) -> None:
    """Load the parameters of a linear layer as if they came from the checkpoint."""
    if bias is not None:
        add_bias(model.get_submodule(path), len(bias))
    for name, values in (("weight", weight), ("bias", bias)):
        if values is not None:
            load_parameter(model, f"{path}.{name}", values, dtype=model.ctx.dtype, device=model.ctx.device)
            loaded.names.add(f"{path}.{name}")
