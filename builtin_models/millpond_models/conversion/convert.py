"""Converters: embedding models, classifiers and process-reward models of models that are something else."""

import re
from collections.abc import Iterable, Iterator
from typing import Any

import torch
from torch import Tensor, nn

from millpond.context import Context
from millpond.nn import Linear, PoolingModel
from millpond.nn.classifier import LogitScaling
from millpond.nn.weight_loading import LoadedWeights, load_parameter
from millpond.types.config import CheckpointConfig
from millpond.types.errors import CheckpointError, InvalidInputError
from millpond_models.conversion.before_padding import BeforePadding
from millpond_models.conversion.token_rows import (
    EMBEDDINGS,
    HEAD,
    TokenRows,
    classifier_tokens,
    combined,
    tied_embeddings,
)
from millpond_models.heads.classifier import Classifier
from millpond_models.heads.token_probabilities import DynamicTokenHead, FixedTokenHead

HEADS = re.compile(
    r"(?:\w+\.)?(?:lm_head|embed_out|score|classifier|pooler|v_head|cls)\..*"
    r"|(?:head|pre_classifier|dense|out_proj)\..*|output\.(?:weight|bias)"
)
SCORE = re.compile(r"(?:model\.|language_model\.)*score\.(weight|bias)")
STEP_TASK = "token_classify"


def as_embedding(model_class: type[PoolingModel], ctx: Context) -> type[PoolingModel]:
    """The model without the head that it may have: what it computes before that is pooled."""
    del ctx
    return _joined(Embedding, model_class)


def as_classifier(model_class: type[PoolingModel], ctx: Context) -> type[PoolingModel]:
    """The model with a classifier behind it: a linear map that the checkpoint names ``score``.

    Where config.json says ``classifier_from_token`` or ``classifier_from_token_ids``, it is made of rows of the head
    that predicts tokens. Where the checkpoint's Dense modules give as many values as there are classes, as those of a
    CrossEncoder of sentence-transformers do, they are the classifier. A model with one of its own keeps that.
    """
    if issubclass(model_class, Classifier):
        return model_class
    if classifier_tokens(ctx):
        return _joined(FromTokens, model_class)
    layers: Any = ctx.rows_after_pooling
    width = None if layers is None else layers[-1].out_features
    return _joined(FromDense if width == ctx.model.classification.num_labels else FromScore, model_class)


def as_process_reward(model_class: type[PoolingModel], ctx: Context) -> type[PoolingModel]:
    """A causal language model that judges steps: the logits of some tokens, at the tokens that end a step.

    Raises:
        InvalidInputError: If the pooling type is another than STEP.
    """
    pooling = ctx.pooling_type(STEP_TASK)
    if pooling != "STEP":
        message = (
            f"a process-reward model of a causal language model pools by STEP, and not by {pooling}: "
            "pooler_config={'pooling_type': 'STEP', 'step_tag_id': ..., 'returned_token_ids': [...]}"
        )
        raise InvalidInputError(message, parameter="pooler_config")
    return _joined(FixedTokenLogits if ctx.pooler_config.returned_token_ids else DynamicTokenLogits, model_class)


def _joined(changes: type[PoolingModel], model_class: type[PoolingModel]) -> type[PoolingModel]:
    """The model class with changes that go before what it says itself."""
    return type(model_class.__name__, (changes, model_class), {"__doc__": changes.__doc__})


class Headless(PoolingModel):
    """A model whose head for the next token is left out."""

    def parameter_name(self, name: str) -> str | None:
        """None of the head; else as the model says."""
        return None if HEAD.fullmatch(name) else super().parameter_name(name)


class Embedding(Headless):
    """An embedding model: no head at all."""

    def parameter_name(self, name: str) -> str | None:
        """None of any head; else as the model says."""
        return None if HEADS.fullmatch(name) else super().parameter_name(name)

    def build_pooler(self, ctx: Context, task: str) -> nn.Module:
        """As configured, whatever the model would make of it."""
        return ctx.pooler(task)


class FromScore(Headless, Classifier):
    """A classifier whose weights the checkpoint names ``score``; it has a bias if the checkpoint has one."""

    def build_classifier(self, ctx: Context) -> nn.Module:
        """One linear map."""
        return Linear(ctx, hidden_size(ctx.config), ctx.model.classification.num_labels, bias=False)

    def build_pooler(self, ctx: Context, task: str) -> nn.Module:
        """The pooler of a task; a text is classified by its last token that is no padding, as transformers does."""
        pooler, padding = super().build_pooler(ctx, task), ctx.config.of_text.get("pad_token_id")
        last = task == "classify" and ctx.pooling_type(task) == "LAST"
        return BeforePadding(pooler, padding) if last and isinstance(padding, int) else pooler

    def parameter_name(self, name: str) -> str | None:
        """``score``, else as the model says."""
        found = SCORE.fullmatch(name)
        return super().parameter_name(name) if found is None else f"classifier.{found[1]}"

    def load_weights(self, weights: Iterable[tuple[str, Tensor]]) -> LoadedWeights:
        """Give the parameters their values; see ``PoolingModel``.

        Raises:
            CheckpointError: If the checkpoint has no classifier.
        """
        loaded = super().load_weights(self._with_room(weights))
        if "classifier.weight" not in loaded.names:
            shape = [self.ctx.model.classification.num_labels, hidden_size(self.ctx.config)]
            message = (
                f"the architecture {self.ctx.model.architecture!r} is to be a classifier (convert='classify'), and its "
                f"checkpoint has none: missing (1): score.weight {shape}. Without convert, it is what it is"
            )
            raise CheckpointError(message)
        return loaded

    def _with_room(self, weights: Iterable[tuple[str, Tensor]]) -> Iterator[tuple[str, Tensor]]:
        for name, tensor in weights:
            if self.parameter_name(name) == "classifier.bias":
                make_bias(self.classifier, self.ctx.model.classification.num_labels)
            yield name, tensor


class FromTokens(Headless, Classifier):
    """A classifier made of rows of the head that predicts tokens."""

    def build_classifier(self, ctx: Context) -> nn.Module:
        """One linear map."""
        return Linear(ctx, hidden_size(ctx.config), ctx.model.classification.num_labels, bias=False)

    def load_weights(self, weights: Iterable[tuple[str, Tensor]]) -> LoadedWeights:
        """Give the parameters their values, the classifier's last, once the rows have passed by."""
        config = self.ctx.config
        rows = TokenRows(classifier_tokens(self.ctx), tied=tied_embeddings(config), parameter="classifier_from_token")
        loaded = super().load_weights(rows.watch(weights))
        bias = None if rows.bias is None else combined(config, rows.bias)
        fill(self, loaded, "classifier", combined(config, rows.weight), bias)
        return loaded


class FromDense(Headless, Classifier):
    """A classifier of the checkpoint's Dense modules."""

    def build_classifier(self, ctx: Context) -> nn.Module:
        """The Dense modules as they are."""
        return nn.Identity() if ctx.rows_after_pooling is None else ctx.rows_after_pooling


class FixedTokenLogits(Headless):
    """Logits of the tokens that the pooler config names: of the head, only their rows are kept."""

    def build_pooler(self, ctx: Context, task: str) -> nn.Module:
        """The softmax over the tokens."""
        wanted = ctx.pooler_config.returned_token_ids or ()
        self.tokens = FixedTokenHead(ctx.for_head(), size=hidden_size(ctx.config), token_ids=wanted)
        return ctx.pooler(task, head=LogitScaling(ctx, self.tokens), activation="softmax")

    def load_weights(self, weights: Iterable[tuple[str, Tensor]]) -> LoadedWeights:
        """Give the parameters their values, the head's last, once the rows have passed by."""
        wanted = tuple(self.tokens.rows)
        rows = TokenRows(wanted, tied=tied_embeddings(self.ctx.config), parameter="returned_token_ids")
        loaded = super().load_weights(rows.watch(weights))
        fill(self, loaded, "tokens.linear", rows.weight, rows.bias)
        return loaded


class DynamicTokenLogits(PoolingModel):
    """Logits of the tokens that each call names: the whole head is kept, or shared with the table of embeddings."""

    def build_pooler(self, ctx: Context, task: str) -> nn.Module:
        """The softmax over the tokens."""
        config = ctx.config
        self.tokens = DynamicTokenHead(ctx.for_head(), size=hidden_size(config), vocab_size=config.of_text.vocab_size)
        return ctx.pooler(task, head=LogitScaling(ctx, self.tokens), activation="softmax")

    def parameter_name(self, name: str) -> str | None:
        """The head, unless the table of embeddings plays it; else as the model says."""
        found = HEAD.fullmatch(name)
        if found is None:
            return super().parameter_name(name)
        return None if found[1] == "weight" and tied_embeddings(self.ctx.config) else f"tokens.{found[1]}"

    def load_weights(self, weights: Iterable[tuple[str, Tensor]]) -> LoadedWeights:
        """Give the parameters their values; see ``PoolingModel``.

        Raises:
            CheckpointError: If the checkpoint has no head, and its embeddings are not tied.
        """
        tables: list[str] = []
        loaded = super().load_weights(self._watched(weights, tables))
        if "tokens.weight" in loaded.names:
            return loaded
        if not tables or tied_embeddings(self.ctx.config) is False:
            message = (
                "a process-reward model of a causal language model needs the head that predicts tokens, and the "
                "checkpoint has no lm_head.weight"
            )
            raise CheckpointError(message)
        self.tokens.weight = self.get_parameter(tables[0])
        loaded.names.add("tokens.weight")
        return loaded

    def _watched(self, weights: Iterable[tuple[str, Tensor]], tables: list[str]) -> Iterator[tuple[str, Tensor]]:
        for name, tensor in weights:
            target = self.parameter_name(name)
            if EMBEDDINGS.fullmatch(name) and target is not None:
                tables.append(target)
            if target == "tokens.bias":
                make_bias(self.tokens, self.ctx.config.of_text.vocab_size)
            yield name, tensor


def hidden_size(config: CheckpointConfig) -> int:
    """The dimensions of hidden states, by either name."""
    text = config.of_text
    size: int = text.n_embd if text.get("hidden_size") is None else text.hidden_size
    return size


def make_bias(module: nn.Module, size: int) -> None:
    """Give a module that was built without a bias an empty one."""
    module.bias = nn.Parameter(torch.empty(size, device="meta"), requires_grad=False)


def fill(model: PoolingModel, loaded: LoadedWeights, path: str, weight: Tensor, bias: Tensor | None) -> None:
    """Give a linear map of a model its values, as if they came from the checkpoint."""
    if bias is not None:
        make_bias(model.get_submodule(path), len(bias))
    for name, values in (("weight", weight), ("bias", bias)):
        if values is not None:
            load_parameter(model, f"{path}.{name}", values, dtype=model.ctx.dtype, device=model.ctx.device)
            loaded.names.add(f"{path}.{name}")
