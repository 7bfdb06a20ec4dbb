"""References of transformers: hidden states, classes of texts and tokens, embeddings of texts and images."""

import importlib
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch

from millpond_verify.parts import Part, Results, Settings
from millpond_verify.sentence_reference import ReferenceOptions, ids_of, limit_of, quiet

if TYPE_CHECKING:
    from numpy.typing import NDArray

PADDED_FAMILY = "siglip"  # reads texts that are padded to the maximum length


class TransformersReference:
    """A model of transformers in float32, which computes one text at a time, without padding."""

    class_name = "AutoModel"

    def __init__(self, folder: Path, options: ReferenceOptions) -> None:
        self._transformers = importlib.import_module("transformers")
        self._folder, self._options = folder, options
        arguments = {"local_files_only": True, "trust_remote_code": options.trust_remote_code}
        with quiet():
            self.tokenizer = self._transformers.AutoTokenizer.from_pretrained(str(folder), **arguments)
            load = getattr(self._transformers, self._class(arguments))
            self.model = load.from_pretrained(str(folder), dtype=torch.float32, **arguments)
        self.model = self.model.eval().to(options.device)

    @property
    def label(self) -> str:
        """The library and the class."""
        return f"transformers {self._transformers.__version__}, {type(self.model).__name__}"

    def settings(self) -> Settings:
        """Return the settings of the model."""
        return Settings(max_length=limit_of(self.tokenizer.model_max_length))

    def run(self, part: Part) -> Results:
        """Return the results for a part."""
        features = [self._features(text) for text in part.data]
        with torch.inference_mode():
            arrays = [self._array(it) for it in features]
        return Results(arrays=arrays, token_ids=[ids_of(it) for it in features])

    def _class(self, arguments: dict[str, Any]) -> str:
        """Return the class of the checkpoint, or the Auto class: AutoModel would add a decoder to an encoder of T5."""
        config = self._transformers.AutoConfig.from_pretrained(str(self._folder), **arguments)
        name = next(iter(config.architectures or ()), "")
        return name if name.endswith("Model") and hasattr(self._transformers, name) else self.class_name

    def _features(self, text: str) -> dict[str, Any]:
        limit = limit_of(self.tokenizer.model_max_length) or self._options.max_length
        encoded = self.tokenizer(text, truncation=True, max_length=limit, return_tensors="pt")
        return {name: value.to(self._options.device) for name, value in encoded.items()}

    def _array(self, features: dict[str, Any]) -> "NDArray[Any]":
        return _as_array(self.model(**features).last_hidden_state[0])


class HiddenStatesReference(TransformersReference):
    """The hidden states of a model without settings for pooling, [num_tokens, hidden_size]."""


class ClassReference(TransformersReference):
    """The logits of the classes of texts, [num_labels]."""

    class_name = "AutoModelForSequenceClassification"

    def settings(self) -> Settings:
        """Return the settings of the model; the activation is that of the pipeline of transformers."""
        config = self.model.config
        return Settings(
            max_length=limit_of(self.tokenizer.model_max_length),
            activation=_activation(config),
            labels=tuple(str(config.id2label[index]) for index in range(config.num_labels)),
        )

    def _array(self, features: dict[str, Any]) -> "NDArray[Any]":
        return _as_array(self.model(**features).logits[0])


class TokenClassReference(ClassReference):
    """The logits of the classes of tokens, [num_tokens, num_labels]."""

    class_name = "AutoModelForTokenClassification"

    def settings(self) -> Settings:
        """Return the settings of the model; the pipeline of transformers always computes a softmax."""
        stated = super().settings()
        return Settings(max_length=stated.max_length, activation="softmax", labels=stated.labels)


class DualEncoderReference(TransformersReference):
    """The embeddings of texts and images of CLIP and SigLIP, [dim]."""

    def settings(self) -> Settings:
        """Return no settings: the processor decides the length."""
        return Settings()

    def run(self, part: Part) -> Results:
        """Return the results for a part."""
        if not part.has_images:
            return super().run(part)
        with quiet():
            processor = self._transformers.AutoImageProcessor.from_pretrained(str(self._folder), local_files_only=True)
        with torch.inference_mode():
            arrays = [self._image(processor(image, return_tensors="pt")) for image in part.data]
        return Results(arrays=arrays)

    def _features(self, text: str) -> dict[str, Any]:
        is_padded = str(self.model.config.model_type).startswith(PADDED_FAMILY)
        encoded = self.tokenizer(
            text,
            truncation=True,
            max_length=self._options.max_length,
            padding="max_length" if is_padded else False,
            return_tensors="pt",
        )
        kept = {"input_ids": encoded["input_ids"]} if is_padded else encoded
        return {name: value.to(self._options.device) for name, value in kept.items()}

    def _array(self, features: dict[str, Any]) -> "NDArray[Any]":
        return _as_array(_pooled(self.model.get_text_features(**features))[0])

    def _image(self, features: Any) -> "NDArray[Any]":
        moved = {name: value.to(self._options.device) for name, value in features.items()}
        return _as_array(_pooled(self.model.get_image_features(**moved))[0])


def _activation(config: Any) -> str:
    stated = getattr(config, "function_to_apply", None)
    if stated is not None:
        return str(stated).replace("none", "identity")
    if config.problem_type == "regression":
        return "identity"
    return "sigmoid" if config.problem_type == "multi_label_classification" or config.num_labels == 1 else "softmax"


def _pooled(output: Any) -> Any:
    """Return the vectors of an output, which older versions of transformers return directly."""
    return getattr(output, "pooler_output", output)


def _as_array(values: torch.Tensor) -> "NDArray[Any]":
    array: NDArray[Any] = values.float().cpu().numpy()
    return array.astype(np.float32, copy=False)
