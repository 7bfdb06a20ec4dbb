"""Prompts of tasks: the text before each text, chosen like in mteb's wrapper of sentence-transformers."""

# pyright: reportMissingImports=false
from collections.abc import Mapping
from typing import Any

from mteb.models.abs_encoder import AbsEncoder, get_prompt

from millpond.model.spec import PromptSettings

# The prompts that SentenceTransformer.encode_query and encode_document apply, in their order.
CANDIDATES = {"query": ("query",), "document": ("document", "passage", "corpus")}
NO_PROMPTS = {"query": "", "document": ""}  # sentence-transformers adds these to every model


class TaskPrompts:
    """The prompts of a model by task and by side.

    Args:
        info: The prompts of the checkpoint.
        model_prompts: Prompts by name of a task, type of a task, "query" or "document", or the two joined by a hyphen;
            they replace those of the checkpoint.
    """

    def __init__(self, info: PromptSettings, model_prompts: Mapping[str, str] | None = None) -> None:
        self.prompts = {**NO_PROMPTS, **(info.prompts if model_prompts is None else model_prompts)}
        self.default = None if info.default_name is None else self.prompts.get(info.default_name)
        self.by_task, _ = AbsEncoder.validate_task_to_prompt_name(self.prompts, raise_for_invalid_keys=False)

    def find(self, task_metadata: Any, prompt_type: Any) -> str:
        """Return the prompt for a task and a side; empty for none.

        Args:
            task_metadata: The ``TaskMetadata`` of the task.
            prompt_type: The ``PromptType``; None for tasks without queries and documents.
        """
        prompt = get_prompt(self.by_task, task_metadata, prompt_type)
        if prompt is None:
            names = CANDIDATES.get(getattr(prompt_type, "value", prompt_type), ())
            prompt = next((self.prompts[name] for name in names if name in self.prompts), self.default)
        return prompt or ""
