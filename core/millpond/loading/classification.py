"""What a checkpoint says of its classes: how many there are, and how their logits become results. Without torch."""

from collections.abc import Mapping
from typing import TYPE_CHECKING

from millpond.compat.activations import KEYS, activations_in
from millpond.types.checkpoint import CheckpointFacts
from millpond.types.config import CheckpointConfig, Choice
from millpond.types.errors import CheckpointError

if TYPE_CHECKING:
    from millpond.loading.architecture import Chosen
    from millpond.plugin.registry import Registry

DEFAULT_LABELS = 2  # what transformers takes where config.json says nothing
TRUSTED = ("torch.nn.modules.", "torch.nn.")  # names of activations are data: their last part is looked up
STATED_BY = ("problem_type", *KEYS)  # keys of config.json
LATE = "late"  # logits of each token, of which the mean is taken
POOLED_BY = {"cls": "CLS", "bos": "CLS", "mean": "MEAN", LATE: "MEAN"}
NAMED_POOLING = {"avg": "MEAN", "cls": "CLS", "last": "LAST"}
# The activation of each problem_type; None for the one that follows from the number of classes.
BY_PROBLEM = {"regression": "identity", "single_label_classification": None, "multi_label_classification": "sigmoid"}


def count_labels(config: CheckpointConfig, facts: CheckpointFacts) -> int:
    """How many classes or scores a classifier of this config gives."""
    tokens = config.get("classifier_from_token") or config.get("classifier_from_token_ids")
    if tokens:
        return 1 if is_two_way(config) else len(tokens)
    if facts.classifier.num_labels is not None:
        return int(facts.classifier.num_labels.value)
    stated = _labels(config)
    text = config.get("text_config")
    if stated in (None, DEFAULT_LABELS) and isinstance(text, CheckpointConfig):
        stated = _labels(text) or stated
    return DEFAULT_LABELS if stated is None else stated


def is_two_way(config: CheckpointConfig) -> bool:
    """Whether the score is the difference of the logits of two tokens, false and true."""
    return config.get("method") == "from_2_way_softmax" or bool(config.get("is_original_qwen3_reranker"))


def choose_activation(
    config: CheckpointConfig,
    facts: CheckpointFacts,
    num_labels: int,
    *,
    named: str | None = None,
) -> Choice:
    """The activation of logits: by the problem's type, else the one that the files name, else by their number.

    One that the architecture's record names counts more than all of these.

    Args:
        config: config.json with the caller's overrides.
        facts: What the other files state.
        num_labels: How many logits there are.
        named: The activation in the architecture's record; None if there is none, or the caller overrides it.

    Raises:
        CheckpointError: If it is named by a path that leads elsewhere than to torch, or ``problem_type`` is not known.
    """
    if named is not None:
        return Choice(value=named, origin="architecture")
    by_number = "sigmoid" if num_labels == 1 else "softmax"
    problem = config.get("problem_type")
    if problem is not None:
        if not isinstance(problem, str) or problem not in BY_PROBLEM:
            message = f"config.json: problem_type must be one of {', '.join(map(repr, BY_PROBLEM))}; got {problem!r}"
            raise CheckpointError(message)
        return Choice(value=BY_PROBLEM[problem] or by_number, origin="config.json (problem_type)")
    for dotted, origin in _named(config, facts):
        if "." in dotted and not dotted.startswith(TRUSTED):
            message = (
                f"{origin} asks for the activation {dotted!r}. Loading of activation functions is restricted to "
                "torch.nn.modules for security reasons: hf_overrides={'problem_type': ...} chooses another"
            )
            raise CheckpointError(message)
        name = dotted.rpartition(".")[2].lower()
        return Choice(value=by_number if name == "softmax" else name, origin=origin)
    return Choice(value=by_number, origin="default")


def named_activation(registry: "Registry", chosen: "Chosen") -> str | None:
    """The activation that the architecture's record names; a converted model has none.

    Raises:
        UnknownNameError: If no plugin has it.
    """
    named = chosen.architecture.spec.output.activation
    if named is None or chosen.converter is not None:
        return None
    registry.activations.get(named)
    return named


def overrides_activation(overrides: object, stored: CheckpointConfig, config: CheckpointConfig) -> bool:
    """True if the caller's overrides of config.json name an activation.

    Args:
        overrides: A mapping, a function or None.
        stored: config.json without them.
        config: config.json with them.
    """
    if isinstance(overrides, Mapping):
        return any(key in overrides for key in STATED_BY)
    return any(config.get(key) != stored.get(key) for key in STATED_BY)


def stated_pooling(config: CheckpointConfig) -> object:
    """What config.json says of the pooling before a classifier, by the key of today or the older ``clf_pooling``."""
    named = config.get("classifier_pooling")
    return config.get("clf_pooling") if named is None else named


def classifier_pooling(config: CheckpointConfig) -> str | None:
    """The pooling type before a classifier that config.json names by ``classifier_pooling``; None if it says nothing.

    Raises:
        CheckpointError: If it is none that is known.
    """
    named = stated_pooling(config)
    if named is None:
        return None
    if not isinstance(named, str) or named not in POOLED_BY:
        message = f"config.json: classifier_pooling must be one of {', '.join(map(repr, POOLED_BY))}; got {named!r}"
        raise CheckpointError(message)
    return POOLED_BY[named]


def named_pooling(config: CheckpointConfig, key: str) -> str | None:
    """The pooling type that config.json, or its part on text, names by a key of its own; None if it says nothing.

    Raises:
        CheckpointError: If it is none that is known.
    """
    named = config.get(key, config.of_text.get(key))
    if named is None:
        return None
    if not isinstance(named, str) or named not in NAMED_POOLING:
        message = f"config.json: {key} must be one of {', '.join(map(repr, NAMED_POOLING))}; got {named!r}"
        raise CheckpointError(message)
    return NAMED_POOLING[named]


def _named(config: CheckpointConfig, facts: CheckpointFacts) -> list[tuple[str, str]]:
    said = activations_in(config)
    if facts.classifier.activation is not None:
        said.append((facts.classifier.activation.value, facts.classifier.activation.origin))
    return [(dotted, origin) for dotted, origin in said if isinstance(dotted, str) and dotted]


def _labels(config: CheckpointConfig) -> int | None:
    names = config.get("id2label")
    stated = config.get("num_labels")
    if isinstance(stated, int) and not isinstance(stated, bool):
        return stated
    return len(names) if isinstance(names, CheckpointConfig) and len(names) else None
