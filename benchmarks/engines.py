"""The engines of workers: Millpond, sentence-transformers, transformers, and plain matrix products.

This module also runs in the environments of the peers, so each library is imported when its engine is created.
"""

import time
from collections.abc import Callable
from functools import partial
from importlib.metadata import version
from typing import Any

import numpy as np
from numpy.typing import NDArray

Vectors = NDArray[np.float32]
TRIAL_SIZE = 256  # rows and columns of the matrices whose product predicts the time for larger ones
MAX_PRODUCT_TIME = 4  # times the duration of the measurement: slower products are replaced by smaller ones
BACKEND_PACKAGES = {"torch": ("torch",), "onnx": ("onnxruntime",), "openvino": ("openvino", "nncf")}
OPENVINO_TYPES = {"f32": "float32", "bf16": "bfloat16", "f16": "float16"}
MAX_TOKENS = 256  # per text: the limit of MiniLM
BATCH_TOKENS = 1024  # like Millpond's default
WARM_UP_PRODUCTS = 3


class Engine:
    """The interface of engines; each implements a part of it.

    Attributes:
        packages: The packages whose versions are reported.
    """

    packages: tuple[str, ...] = ("torch",)

    def describe(self) -> dict[str, Any]:
        """Return the precision and the versions of the packages."""
        return {"precision": self.precision, "versions": {package: version(package) for package in self.packages}}

    @property
    def precision(self) -> str:
        """The dtype of large matrix products."""
        raise self._unsupported("precision")

    def embed(self, texts: list[str]) -> Vectors:
        """Return the vectors of texts, [len(texts), dim]."""
        raise self._unsupported("embed", texts)

    def embed_one(self, text: str) -> Vectors:
        """Return the vector of a text, [dim]."""
        raise self._unsupported("embed_one", text)

    def tokenise(self, texts: list[str]) -> list[list[int]]:
        """Return the token ids of texts."""
        raise self._unsupported("tokenise", texts)

    def embed_ids(self, ids: list[list[int]]) -> Vectors:
        """Return the vectors of tokenised texts, [len(ids), dim]."""
        raise self._unsupported("embed_ids", ids)

    def stages(self, texts: list[str]) -> list[dict[str, float]]:
        """Embed texts one at a time; returns the seconds of each stage for each text."""
        raise self._unsupported("stages", texts)

    def peak(self, precision: str, seconds: float, size: int) -> float:
        """Return the GFLOP per second in products of square matrices of at most the given size."""
        raise self._unsupported("peak", precision, seconds, size)

    def _unsupported(self, method: str, *_: object) -> NotImplementedError:
        return NotImplementedError(f"{type(self).__name__} does not support {method!r}")


class Millpond(Engine):
    """Millpond's LLM."""

    packages = ("millpond", "torch")

    def __init__(self, *, model: str, **options: Any) -> None:
        from millpond import LLM  # noqa: PLC0415

        self.llm = LLM(model, **options)
        self.quantised = options.get("quantization")

    @property
    def precision(self) -> str:
        """The dtype of the model, or its quantisation scheme."""
        return str(self.quantised or self.llm.model_config.dtype)

    def embed(self, texts: list[str]) -> Vectors:
        """Embed all texts in one call; long texts are truncated like in sentence-transformers."""
        outputs = self.llm.embed(texts, truncate_prompt_tokens=-1, use_tqdm=False)
        return np.stack([output.outputs.array for output in outputs])

    def embed_one(self, text: str) -> Vectors:
        """Embed a single text in one call."""
        (output,) = self.llm.embed(text, truncate_prompt_tokens=-1, use_tqdm=False)
        return output.outputs.array

    def tokenise(self, texts: list[str]) -> list[list[int]]:
        """Tokenise with the model's tokenizer."""
        tokenizer = self.llm.pipeline.ctx.tokenizer
        if tokenizer is None:
            raise ValueError("the model has no tokenizer")
        longest = self.llm.model_config.max_model_len
        return [encoding.ids[:longest] for encoding in tokenizer.encode_batch(texts)]

    def embed_ids(self, ids: list[list[int]]) -> Vectors:
        """Embed token ids with the same engine, without the tokenizer."""
        outputs = self.llm.embed(ids, use_tqdm=False)
        return np.stack([output.outputs.array for output in outputs])

    def stages(self, texts: list[str]) -> list[dict[str, float]]:
        """Measure with probes at the boundaries of the stages."""
        from stages import Stages  # noqa: PLC0415  imports torch

        with Stages(self.llm) as stages:
            return stages.measure(texts)


class SentenceTransformers(Engine):
    """sentence-transformers with one of its backends and default settings: batches of 32, all threads."""

    def __init__(
        self,
        *,
        model: str,
        backend: str = "torch",
        file_name: str = "",
        ov_config: dict[str, Any] | None = None,
        device: str = "cpu",
        dtype: str = "",
    ) -> None:
        from sentence_transformers import SentenceTransformer  # noqa: PLC0415

        model_options: dict[str, Any] = {"file_name": file_name, "ov_config": ov_config, "dtype": dtype}
        if backend == "onnx":
            model_options["provider"] = "CPUExecutionProvider"
        self.backend, self.file_name = backend, file_name
        self.packages = ("sentence-transformers", "transformers", *BACKEND_PACKAGES[backend])
        self.model = SentenceTransformer(
            model,
            backend=backend,  # type: ignore[arg-type]  # one of its literals
            device=device,
            local_files_only=True,
            model_kwargs={name: value for name, value in model_options.items() if value},
        )

    @property
    def precision(self) -> str:
        """The dtype of the loaded model; OpenVINO selects it for the processor."""
        transformer: Any = self.model[0].auto_model
        if "int8" in self.file_name:
            return "int8"
        if self.backend == "openvino":
            transformer.compile()
            return OPENVINO_TYPES[transformer.request.get_property("INFERENCE_PRECISION_HINT").get_type_name()]
        return "float32" if self.backend == "onnx" else str(transformer.dtype).removeprefix("torch.")

    def embed(self, texts: list[str]) -> Vectors:
        """Embed all texts in one call."""
        return np.asarray(self.model.encode(texts, show_progress_bar=False), dtype=np.float32)

    def embed_one(self, text: str) -> Vectors:
        """Embed a single text in one call."""
        return np.asarray(self.model.encode(text, show_progress_bar=False), dtype=np.float32)


class Transformers(Engine):
    """The class of transformers: texts sorted by length, in padded batches with Millpond's number of tokens."""

    packages = ("transformers", "torch")

    def __init__(self, *, model: str, dtype: str = "float32") -> None:
        import torch  # noqa: PLC0415
        from tokenizers import Tokenizer  # noqa: PLC0415
        from transformers import AutoModel  # noqa: PLC0415

        self.torch = torch
        self.tokenizer = Tokenizer.from_file(f"{model}/tokenizer.json")
        self.tokenizer.no_padding()
        self.tokenizer.enable_truncation(MAX_TOKENS)
        try:
            self.model = AutoModel.from_pretrained(model, dtype=dtype, attn_implementation="sdpa").eval()
        except ValueError:  # some classes have no sdpa
            self.model = AutoModel.from_pretrained(model, dtype=dtype, attn_implementation="eager").eval()

    @property
    def precision(self) -> str:
        """The dtype of the loaded model."""
        return str(self.model.dtype).removeprefix("torch.")

    def tokenise(self, texts: list[str]) -> list[list[int]]:
        """Tokenise all texts in one call."""
        return [encoding.ids for encoding in self.tokenizer.encode_batch(texts)]

    def embed(self, texts: list[str]) -> Vectors:
        """Return the normalised mean of each text's hidden states."""
        torch, ids = self.torch, self.tokenise(texts)
        order = sorted(range(len(ids)), key=lambda index: -len(ids[index]))
        vectors: dict[int, Any] = {}
        with torch.inference_mode():
            while order:
                length = len(ids[order[0]])
                batch, order = order[: max(BATCH_TOKENS // length, 1)], order[max(BATCH_TOKENS // length, 1) :]
                rows = torch.tensor([ids[index] + [self.padding] * (length - len(ids[index])) for index in batch])
                mask = torch.tensor([[1] * len(ids[index]) + [0] * (length - len(ids[index])) for index in batch])
                hidden = self.model(input_ids=rows, attention_mask=mask).last_hidden_state.float()
                means = (hidden * mask.unsqueeze(-1)).sum(1) / mask.sum(1, keepdim=True)
                vectors |= zip(batch, torch.nn.functional.normalize(means).numpy(), strict=True)
        return np.stack([vectors[index] for index in range(len(texts))])

    @property
    def padding(self) -> int:
        """The padding id."""
        return int(self.model.config.pad_token_id or 0)


class Matrices(Engine):
    """Products of large square matrices, which measure the peak of the machine."""

    def __init__(self, *, device: str = "cpu") -> None:
        import torch  # noqa: PLC0415

        self.torch, self.device = torch, torch.device(device)
        torch.set_num_threads(1)

    @property
    def precision(self) -> str:
        """Always "any": the precision is an argument of each measurement."""
        return "any"

    def describe(self) -> dict[str, Any]:
        """Return the versions, and torch's description of the processor and the device."""
        cuda = self.torch.cuda.is_available()
        return {
            **super().describe(),
            "cpu_capability": self.torch.backends.cpu.get_cpu_capability(),
            "cuda": self.torch.version.cuda if cuda else None,
            "device": self.torch.cuda.get_device_name() if cuda else None,
        }

    def peak(self, precision: str, seconds: float, size: int) -> float:
        """Return the GFLOP per second of CPU time of one thread, or per second of the device."""
        torch = self.torch
        if size > TRIAL_SIZE and self._product_seconds(precision, size) > MAX_PRODUCT_TIME * seconds:
            size = TRIAL_SIZE  # without VNNI, torch multiplies integers one by one: a large product takes minutes
        multiply = self._product(precision, size)
        for _ in range(WARM_UP_PRODUCTS):
            multiply()
        from device import stopwatch  # noqa: PLC0415  imports torch

        watch, products = stopwatch(self.device), 0
        watch.start()
        start = time.perf_counter()
        while time.perf_counter() - start < seconds:
            multiply()
            products += 1
            if self.device.type != "cpu":
                torch.cuda.synchronize(self.device)
        watch.stop()
        return products * 2 * size**3 / watch.seconds() / 1e9

    def _product(self, precision: str, size: int) -> Callable[[], object]:
        torch, shape = self.torch, (size, size)
        if precision == "int8":
            a, b = (torch.randint(-127, 128, shape, dtype=torch.int8, device=self.device) for _ in range(2))
            return partial(torch._int_mm, a, b)  # noqa: SLF001  torch has no other int8 product on a CPU
        a, b = (torch.randn(shape, device=self.device).to(getattr(torch, precision)) for _ in range(2))
        return partial(torch.mm, a, b)

    def _product_seconds(self, precision: str, size: int) -> float:
        """Predict the seconds of one product from a small one."""
        multiply = self._product(precision, TRIAL_SIZE)
        multiply()
        start = time.perf_counter()
        multiply()
        return (time.perf_counter() - start) * (size / TRIAL_SIZE) ** 3


def load_engine(engine: str, **options: Any) -> Engine:
    """Create an engine by name: "millpond", "sentence-transformers", "transformers" or "matrices".

    Raises:
        ValueError: If the name is unknown.
    """
    kinds: dict[str, type[Engine]] = {
        "millpond": Millpond,
        "sentence-transformers": SentenceTransformers,
        "transformers": Transformers,
        "matrices": Matrices,
    }
    if engine not in kinds:
        raise ValueError(f"Unknown engine {engine!r}. Available: {', '.join(kinds)}.")
    return kinds[engine](**options)
