"""What a worker can load: Millpond, sentence-transformers, and plain products of matrices.

Runs in the environments of the peers too, so it imports a library only where that is loaded.
"""

import time
from collections.abc import Callable
from functools import partial
from importlib.metadata import version
from typing import Any

import numpy as np
from numpy.typing import NDArray

Vectors = NDArray[np.float32]
TRIAL_SIZE = 256  # rows and columns of the matrices whose product tells how long one of larger ones will take
TOO_LONG = 4  # times what a measurement is to last: a product that takes longer is not measured
BACKEND_PACKAGES = {"torch": ("torch",), "onnx": ("onnxruntime",), "openvino": ("openvino", "nncf")}
OPENVINO_TYPES = {"f32": "float32", "bf16": "bfloat16", "f16": "float16"}
LONGEST = 256  # tokens of a text, as MiniLM's limit
BATCH_TOKENS = 1024  # as Millpond's by default
WARM_UP = 3  # products before the clock is started


class Engine:
    """What is asked of a contestant; none does all.

    Attributes:
        packages: Those whose versions are told.
    """

    packages: tuple[str, ...] = ("torch",)

    def describe(self) -> dict[str, Any]:
        """What was loaded: the precision that it computes in, the versions of its packages."""
        return {"precision": self.precision, "versions": {package: version(package) for package in self.packages}}

    @property
    def precision(self) -> str:
        """The dtype of its large products of matrices."""
        raise self._lacks("precision")

    def embed(self, texts: list[str]) -> Vectors:
        """The vectors of texts, [len(texts), dim]."""
        raise self._lacks("embed", texts)

    def embed_one(self, text: str) -> Vectors:
        """The vector of a text, [dim]."""
        raise self._lacks("embed_one", text)

    def tokenise(self, texts: list[str]) -> list[list[int]]:
        """The token ids of texts."""
        raise self._lacks("tokenise", texts)

    def embed_ids(self, ids: list[list[int]]) -> Vectors:
        """The vectors of texts that are tokenised, [len(ids), dim]."""
        raise self._lacks("embed_ids", ids)

    def stages(self, texts: list[str]) -> list[dict[str, float]]:
        """Seconds by stage, for each text, one at a time."""
        raise self._lacks("stages", texts)

    def device_run(self, texts: list[str]) -> dict[str, Any]:
        """Wall seconds of embedding texts, and the seconds that the device computed the model."""
        raise self._lacks("device_run", texts)

    def peak(self, precision: str, seconds: float, size: int) -> float:
        """GFLOP a second in products of square matrices of up to a size."""
        raise self._lacks("peak", precision, seconds, size)

    def _lacks(self, what: str, *_: object) -> NotImplementedError:
        return NotImplementedError(f"{type(self).__name__} has no {what!r}")


class Millpond(Engine):
    """Millpond's LLM."""

    packages = ("millpond", "torch")

    def __init__(self, *, model: str, **options: Any) -> None:
        from millpond import LLM  # noqa: PLC0415

        self.llm = LLM(model, **options)
        self.quantised = options.get("quantization")

    @property
    def precision(self) -> str:
        """As its config says, or what it was quantised to."""
        return str(self.quantised or self.llm.model_config.dtype)

    def embed(self, texts: list[str]) -> Vectors:
        """All at once; what is too long is cut, as sentence-transformers cuts it."""
        outputs = self.llm.embed(texts, truncate_prompt_tokens=-1, use_tqdm=False)
        return np.stack([output.outputs.array for output in outputs])

    def embed_one(self, text: str) -> Vectors:
        """One text, by a call of its own."""
        (output,) = self.llm.embed(text, truncate_prompt_tokens=-1, use_tqdm=False)
        return output.outputs.array

    def tokenise(self, texts: list[str]) -> list[list[int]]:
        """By the tokenizer that it was loaded with."""
        tokenizer = self.llm.pipeline.ctx.tokenizer
        if tokenizer is None:
            raise ValueError("the model has no tokenizer")
        longest = self.llm.model_config.max_model_len
        return [encoding.ids[:longest] for encoding in tokenizer.encode_batch(texts)]

    def embed_ids(self, ids: list[list[int]]) -> Vectors:
        """The same way through the engine, without a tokenizer."""
        outputs = self.llm.embed(ids, use_tqdm=False)
        return np.stack([output.outputs.array for output in outputs])

    def stages(self, texts: list[str]) -> list[dict[str, float]]:
        """By probes at the borders of the stages."""
        from stages import Stages  # noqa: PLC0415  imports torch

        with Stages(self.llm) as stages:
            return stages.measure(texts)

    def device_run(self, texts: list[str]) -> dict[str, Any]:
        """By events around the model's forward pass."""
        from device import timed_run  # noqa: PLC0415  imports torch

        model = self.llm._loaded.model  # noqa: SLF001  a benchmark looks inside
        return timed_run(model, lambda: self.embed(texts))


class SentenceTransformers(Engine):
    """sentence-transformers with one of its backends, as it comes: batches of 32, all the threads that it takes."""

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

        given: dict[str, Any] = {"file_name": file_name, "ov_config": ov_config, "dtype": dtype}
        if backend == "onnx":
            given["provider"] = "CPUExecutionProvider"
        self.backend, self.file_name = backend, file_name
        self.packages = ("sentence-transformers", "transformers", *BACKEND_PACKAGES[backend])
        self.model = SentenceTransformer(
            model,
            backend=backend,  # type: ignore[arg-type]  # one of its literals
            device=device,
            local_files_only=True,
            model_kwargs={name: value for name, value in given.items() if value},
        )

    @property
    def precision(self) -> str:
        """As the loaded model says; OpenVINO chooses by the processor."""
        transformer: Any = self.model[0].auto_model
        if "int8" in self.file_name:
            return "int8"
        if self.backend == "openvino":
            transformer.compile()
            return OPENVINO_TYPES[transformer.request.get_property("INFERENCE_PRECISION_HINT").get_type_name()]
        return "float32" if self.backend == "onnx" else str(transformer.dtype).removeprefix("torch.")

    def embed(self, texts: list[str]) -> Vectors:
        """All at once."""
        return np.asarray(self.model.encode(texts, show_progress_bar=False), dtype=np.float32)

    def embed_one(self, text: str) -> Vectors:
        """One text, by a call of its own."""
        return np.asarray(self.model.encode(text, show_progress_bar=False), dtype=np.float32)

    def device_run(self, texts: list[str]) -> dict[str, Any]:
        """By events around the model's forward pass."""
        from device import timed_run  # noqa: PLC0415  imports torch

        # Its module, not the model within: that one's forward is called past its hooks.
        return timed_run(self.model[0], lambda: self.embed(texts))


class Transformers(Engine):
    """The class of transformers itself: texts sorted by length, in padded batches of as many tokens as Millpond's."""

    packages = ("transformers", "torch")

    def __init__(self, *, model: str) -> None:
        import torch  # noqa: PLC0415
        from tokenizers import Tokenizer  # noqa: PLC0415
        from transformers import AutoModel  # noqa: PLC0415

        self.torch = torch
        self.tokenizer = Tokenizer.from_file(f"{model}/tokenizer.json")
        self.tokenizer.no_padding()
        self.tokenizer.enable_truncation(LONGEST)
        try:
            self.model = AutoModel.from_pretrained(model, attn_implementation="sdpa").eval()
        except ValueError:  # some have none
            self.model = AutoModel.from_pretrained(model, attn_implementation="eager").eval()

    @property
    def precision(self) -> str:
        """As the loaded model says."""
        return str(self.model.dtype).removeprefix("torch.")

    def tokenise(self, texts: list[str]) -> list[list[int]]:
        """All at once."""
        return [encoding.ids for encoding in self.tokenizer.encode_batch(texts)]

    def embed(self, texts: list[str]) -> Vectors:
        """The mean of each text's hidden states, of length 1."""
        torch, ids = self.torch, self.tokenise(texts)
        order = sorted(range(len(ids)), key=lambda place: -len(ids[place]))
        found: dict[int, Any] = {}
        with torch.inference_mode():
            while order:
                length = len(ids[order[0]])
                batch, order = order[: max(BATCH_TOKENS // length, 1)], order[max(BATCH_TOKENS // length, 1) :]
                rows = torch.tensor([ids[place] + [self.padding] * (length - len(ids[place])) for place in batch])
                mask = torch.tensor([[1] * len(ids[place]) + [0] * (length - len(ids[place])) for place in batch])
                hidden = self.model(input_ids=rows, attention_mask=mask).last_hidden_state
                means = (hidden * mask.unsqueeze(-1)).sum(1) / mask.sum(1, keepdim=True)
                found |= zip(batch, torch.nn.functional.normalize(means).numpy(), strict=True)
        return np.stack([found[place] for place in range(len(texts))])

    @property
    def padding(self) -> int:
        """The id that stands where nothing does."""
        return int(self.model.config.pad_token_id or 0)


class Matrices(Engine):
    """Products of large square matrices: what the machine can give, measured in the same run."""

    def __init__(self, *, device: str = "cpu") -> None:
        import torch  # noqa: PLC0415

        self.torch, self.device = torch, torch.device(device)
        torch.set_num_threads(1)

    @property
    def precision(self) -> str:
        """Any."""
        return "any"

    def describe(self) -> dict[str, Any]:
        """With what torch says of the processor and of the device."""
        cuda = self.torch.cuda.is_available()
        return {
            **super().describe(),
            "cpu_capability": self.torch.backends.cpu.get_cpu_capability(),
            "cuda": self.torch.version.cuda if cuda else None,
            "device": self.torch.cuda.get_device_name() if cuda else None,
        }

    def peak(self, precision: str, seconds: float, size: int) -> float:
        """On a CPU on one thread, a second of CPU; on a device a second of its clock."""
        torch = self.torch
        if size > TRIAL_SIZE and self._seconds_of_one(precision, size) > TOO_LONG * seconds:
            size = TRIAL_SIZE  # torch multiplies integers one by one where the processor has no VNNI: minutes a product
        multiply = self._product(precision, size)
        for _ in range(WARM_UP):
            multiply()
        from device import stopwatch  # noqa: PLC0415  imports torch

        watch, products = stopwatch(self.device), 0
        watch.start()
        begun = time.perf_counter()
        while time.perf_counter() - begun < seconds:
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

    def _seconds_of_one(self, precision: str, size: int) -> float:
        """The seconds that one product takes, judged by small ones."""
        multiply = self._product(precision, TRIAL_SIZE)
        multiply()
        begun = time.perf_counter()
        multiply()
        return (time.perf_counter() - begun) * (size / TRIAL_SIZE) ** 3


def load_engine(engine: str, **options: Any) -> Engine:
    """An engine by its name: "millpond", "sentence-transformers", "transformers" or "matrices".

    Raises:
        ValueError: If there is none of that name.
    """
    kinds: dict[str, type[Engine]] = {
        "millpond": Millpond,
        "sentence-transformers": SentenceTransformers,
        "transformers": Transformers,
        "matrices": Matrices,
    }
    if engine not in kinds:
        raise ValueError(f"there is no engine {engine!r}; there are: {', '.join(kinds)}")
    return kinds[engine](**options)
