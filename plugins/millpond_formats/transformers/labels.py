"""Classes and scores in config.json: their number, names and activation."""

from collections.abc import Mapping
from typing import Any

from millpond.model.layers import DEFAULT, Layer, Layers
from millpond.types.config import CheckpointConfig
from millpond.types.errors import CheckpointError

LABELS_PATH, ACTIVATION_PATH = "classification.num_labels", "classification.activation"
MAX_LABELS = 200_000  # ten times those of ImageNet-21k; naming and listing them takes seconds
DEFAULT_NUM_LABELS = 2  # the default of transformers
TRUSTED_PREFIXES = ("torch.nn.modules.", "torch.nn.")  # activation names are data: only the last part is looked up
# Keys of config.json that name the activation of scores in older cross-encoders; vLLM reads them too.
OLD_ACTIVATION_KEYS = ("sentence_transformers", "sbert_ce_default_activation_function")
ACTIVATION_KEYS = ("problem_type", *OLD_ACTIVATION_KEYS)
# The activation of each problem_type; None if it depends on the number of labels.
BY_PROBLEM = {"regression": "identity", "single_label_classification": None, "multi_label_classification": "sigmoid"}


def count_labels(config: CheckpointConfig, files: Layers) -> int:
    """Return the number of labels (classes or scores) of a classifier with this config.

    Raises:
        CheckpointError: If there are too many.
    """
    number = _count_labels(config, files)
    if number > MAX_LABELS:
        message = f"the checkpoint specifies {number} labels (num_labels or id2label); at most {MAX_LABELS} are read"
        raise CheckpointError(message)
    return number


def _count_labels(config: CheckpointConfig, files: Layers) -> int:
    tokens = config.get("classifier_from_token") or config.get("classifier_from_token_ids")
    if tokens:
        return 1 if _is_two_way(config) else len(tokens)
    stated_by_files = files.get(LABELS_PATH)
    if stated_by_files is not None:
        return int(stated_by_files)
    stated = _labels(config)
    text = config.get("text_config")
    if stated in (None, DEFAULT_NUM_LABELS) and isinstance(text, CheckpointConfig):
        stated = _labels(text) or stated
    return DEFAULT_NUM_LABELS if stated is None else stated


def read_labels(config: CheckpointConfig, number: int) -> tuple[str, ...] | None:
    """Return the names of the classes: ``id2label`` of config.json or of its text part; None if it does not name them.

    Args:
        config: config.json with the caller's overrides.
        number: The number of classes.
    """
    parts = (part for part in (config, config.get("text_config")) if isinstance(part, CheckpointConfig))
    stated = (names for part in parts if isinstance(names := part.get("id2label"), CheckpointConfig))
    names = next((names for names in stated if len(names) == number), None)
    return None if names is None else tuple(str(names.get(str(it), f"LABEL_{it}")) for it in range(number))


def _is_two_way(config: CheckpointConfig) -> bool:
    """True if the score is the difference of the logits of two tokens, "true" minus "false"."""
    return config.get("method") == "from_2_way_softmax" or bool(config.get("is_original_qwen3_reranker"))


def choose_activation(config: CheckpointConfig, files: Layers, num_labels: int) -> Layer:
    """Return a layer with the activation of logits.

    The order of precedence is: ``problem_type``, the activation named in the files, the default for the number of
    labels (sigmoid for 1, softmax for more).

    Args:
        config: config.json with the caller's overrides.
        files: The layers of the other files.
        num_labels: The number of logits.

    Raises:
        CheckpointError: If the activation's import path is outside torch, or ``problem_type`` is unknown.
    """
    by_number = "sigmoid" if num_labels == 1 else "softmax"
    problem = config.get("problem_type")
    if problem is not None:
        if not isinstance(problem, str) or problem not in BY_PROBLEM:
            message = f"config.json: problem_type must be one of {', '.join(map(repr, BY_PROBLEM))}; got {problem!r}"
            raise CheckpointError(message)
        return Layer(
            "config.json", {ACTIVATION_PATH: BY_PROBLEM[problem] or by_number}, {ACTIVATION_PATH: "problem_type"}
        )
    for dotted, origin in _stated_activations(config, files):
        if "." in dotted and not dotted.startswith(TRUSTED_PREFIXES):
            message = (
                f"{origin} specifies the activation {dotted!r}. Loading of activation functions is restricted to "
                "torch.nn.modules for security reasons: hf_overrides={'problem_type': ...} chooses another"
            )
            raise CheckpointError(message)
        name = dotted.rpartition(".")[2].lower()
        return Layer(origin, {ACTIVATION_PATH: by_number if name == "softmax" else name})
    return Layer(DEFAULT, {ACTIVATION_PATH: by_number})


def overrides_activation(overrides: object, stored: CheckpointConfig, config: CheckpointConfig) -> bool:
    """True if the caller's overrides of config.json name an activation.

    Args:
        overrides: A mapping, a function or None.
        stored: config.json without them.
        config: config.json with them.
    """
    if isinstance(overrides, Mapping):
        return any(key in overrides for key in ACTIVATION_KEYS)
    return any(config.get(key) != stored.get(key) for key in ACTIVATION_KEYS)


def _stated_activations(config: CheckpointConfig, files: Layers) -> list[tuple[str, str]]:
    activations = _activations_in(config)
    activations.append((files.get(ACTIVATION_PATH), files.origin(ACTIVATION_PATH)))
    return [(dotted, origin) for dotted, origin in activations if isinstance(dotted, str) and dotted]


def _labels(config: CheckpointConfig) -> int | None:
    names = config.get("id2label")
    stated = config.get("num_labels")
    if isinstance(stated, int) and not isinstance(stated, bool):
        return stated
    return len(names) if isinstance(names, CheckpointConfig) and len(names) else None


def _activations_in(config: CheckpointConfig) -> list[tuple[Any, str]]:
    """Return the activations in config.json with their origins, in descending order of precedence."""
    new, old = OLD_ACTIVATION_KEYS
    section = config.get(new)
    inner = section.get("activation_fn") if isinstance(section, CheckpointConfig) else None
    return [(inner, f"config.json ({new}.activation_fn)"), (config.get(old), f"config.json ({old})")]
