"""The LogitScore module of sentence-transformers: a generative model that scores with the logits of tokens."""

import re
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from millpond.model.files import read_object
from millpond.model.spec import ModuleSettings

GENERATIVE = re.compile(r"For(?:CausalLM|ConditionalGeneration)$")


def logit_score(modules: Iterable[ModuleSettings], folder: Path) -> Mapping[str, Any]:
    """Return the equivalent keys of config.json; empty for a model without such a module.

    Args:
        modules: The modules of the model.
        folder: The folder of its config.json.
    """
    module = next((module for module in modules if module.type == "LogitScore"), None)
    if module is None:
        return {}
    names = read_object(folder / "config.json").get("architectures")
    stated = [name for name in names if isinstance(name, str)] if isinstance(names, list) else []
    false, true = module.config.get("false_token_id"), module.config.get("true_token_id")
    return {
        "architectures": [GENERATIVE.sub("ForSequenceClassification", name) for name in stated],
        "classifier_from_token_ids": [true] if false is None else [false, true],
        "method": "no_post_processing" if false is None else "from_2_way_softmax",
    }
