"""The two sides of gpu_all.py, from token ids to vectors: Millpond's engine, and the class of transformers."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Self

import numpy as np
import torch
from numpy.typing import NDArray

from millpond import LLM
from millpond.engine.engine import Engine
from millpond.engine.request import PoolingRequest, Representation
from millpond.engine.runner import Runner
from millpond.types.config import EngineConfig
from millpond.types.params import PoolingParams
from millpond_cuda.graphs import MAX_LENGTH, CudaRecorder, GraphedModel
from millpond_cuda.pipelined_runner import PipelinedRunner
from millpond_cuda.transfers import CudaStreams

Ids = NDArray[np.int64]
Vectors = NDArray[np.float32]
FIRST_ID, LAST_ID = 20, 60  # ordinary tokens of every vocabulary, also of tiny ones


def random_sequences(lengths: Sequence[int], *, seed: int = 0) -> list[Ids]:
    """Return random token ids, one array for each length."""
    rng = np.random.default_rng(seed)
    return [rng.integers(FIRST_ID, LAST_ID, length) for length in lengths]


def cosines(vectors: Vectors, expected: Vectors) -> dict[str, float]:
    """Return the smallest and the mean cosine of rows, and the largest difference of normalised values."""
    a, b = (rows / np.linalg.norm(rows, axis=1, keepdims=True) for rows in (vectors, expected))
    products = (a * b).sum(axis=1)
    return {
        "min_cosine": float(products.min()),
        "mean_cosine": float(products.mean()),
        "max_difference": float(np.abs(a - b).max()),
    }


class Encoder:
    """Millpond's engine with a model; closes it at the end of a ``with`` block.

    Args:
        folder: The checkpoint.
        device: The device.
        dtype: The dtype of the weights and of the computation.
        pooling: The pooling type.
        kernels: The variants of ops; the default ones for others.
    """

    def __init__(
        self,
        folder: Path,
        device: torch.device,
        dtype: str,
        pooling: str,
        kernels: Mapping[str, str] | None = None,
    ) -> None:
        self.llm = LLM(
            str(folder),
            device=str(device),
            dtype=dtype,
            kernels=dict(kernels or {}),
            pooler_config={"seq_pooling_type": pooling},
            deduplicate=False,
        )
        runner = self.llm._engine.runner  # noqa: SLF001  batches of any size with one loaded model
        assert isinstance(runner, Runner)  # noqa: S101  one process computes
        self._runner = self._plain_runner = runner
        self._graphed: GraphedModel | None = None

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.use_pipeline(1)
        self.llm.close()

    def embed(self, sequences: Sequence[Ids], batch_tokens: int) -> Vectors:
        """Return the vectors of sequences, [len(sequences), dim].

        Raises:
            MemoryError: If batches of this size do not fit into the memory of the device.
        """
        engine = Engine(self._runner, EngineConfig(max_num_batched_tokens=batch_tokens, max_num_seqs=batch_tokens))
        requests = [_request(ids) for ids in sequences]
        for request in requests:
            engine.add(request)
        while engine.num_unfinished:
            engine.step()
        for request in requests:
            if request.error is not None:
                raise request.error
        if engine.scheduler.max_num_batched_tokens < batch_tokens:
            message = f"batches of {batch_tokens} tokens do not fit into memory"
            raise MemoryError(message)
        return np.stack([request.results[0] for request in requests])

    def use_graphs(self, *, recorded: bool) -> None:
        """Compute small batches with recorded graphs, or as usual; on a CPU always as usual."""
        model = self._runner.model
        self._graphed = None
        if recorded and self._runner.device.type == "cuda":
            recorder, longest = (
                CudaRecorder(self._runner.device),
                min(self.llm.model_config.max_model_len, MAX_LENGTH),
            )
            self._graphed = GraphedModel(model, recorder, device=self._runner.device, max_length=longest)
        self._runner.forward = model if self._graphed is None else self._graphed

    def use_pipeline(self, in_flight: int) -> None:
        """Compute with a number of batches in flight; with one, and on a CPU, in the caller's thread."""
        runner, device = self._plain_runner, self._plain_runner.device
        if self._runner is not runner:
            self._runner.close()
        self._runner = runner
        if in_flight > 1 and device.type == "cuda":
            self._runner = PipelinedRunner(runner.model, CudaStreams(device), device=device, max_in_flight=in_flight)

    @property
    def graph_refusal(self) -> str | None:
        """The reason that no graph was recorded; empty if graphs are used, and None if they were not requested."""
        return None if self._graphed is None else self._graphed.refusal

    def embed_watched(self, sequences: Sequence[Ids]) -> None:
        """Compute one batch in this thread; on a GPU, torch warns about each wait for the device."""
        watched = self._runner.device.type == "cuda"
        if watched:
            torch.cuda.set_sync_debug_mode("warn")
        try:
            self._runner.run([_request(ids) for ids in sequences])
        finally:
            if watched:
                torch.cuda.set_sync_debug_mode("default")


class Peer:
    """The class of transformers: padded batches of sequences sorted by length, and pooling."""

    def __init__(
        self,
        folder: Path,
        device: torch.device,
        dtype: str,
        pooling: str,
        *,
        attention: str = "sdpa",
        compiled: bool = False,
    ) -> None:
        from transformers import AutoModel  # noqa: PLC0415  takes seconds

        model: Any = AutoModel.from_pretrained(folder, dtype=getattr(torch, dtype), attn_implementation=attention)
        model = model.to(device).eval()
        # Without a GPU, only this script is tested: compiling C++ takes minutes on a busy machine.
        backend = "inductor" if device.type == "cuda" else "eager"
        self.model = torch.compile(model, dynamic=True, backend=backend) if compiled else model
        self.device, self.pooling = device, pooling

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        del self.model

    @torch.inference_mode()
    def embed(self, sequences: Sequence[Ids], batch_tokens: int) -> Vectors:
        """Return the vectors of sequences, [len(sequences), dim]."""
        order = sorted(range(len(sequences)), key=lambda index: -len(sequences[index]))
        vectors: dict[int, Vectors] = {}
        while order:
            count = max(batch_tokens // len(sequences[order[0]]), 1)
            batch, order = order[:count], order[count:]
            vectors |= zip(batch, self._vectors([sequences[index] for index in batch]), strict=True)
        return np.stack([vectors[index] for index in range(len(sequences))])

    def _vectors(self, sequences: Sequence[Ids]) -> Vectors:
        longest = max(map(len, sequences))
        ids = np.zeros((len(sequences), longest), dtype=np.int64)
        mask = np.zeros_like(ids)
        for row, sequence in enumerate(sequences):
            ids[row, : len(sequence)] = sequence
            mask[row, : len(sequence)] = 1
        on_device = torch.from_numpy(mask).to(self.device)
        hidden = self.model(input_ids=torch.from_numpy(ids).to(self.device), attention_mask=on_device).last_hidden_state
        if self.pooling == "LAST":
            pooled = hidden[torch.arange(len(sequences), device=self.device), on_device.sum(1) - 1].float()
        else:
            pooled = (hidden.float() * on_device.unsqueeze(-1)).sum(1) / on_device.sum(1, keepdim=True)
        normalized: Vectors = torch.nn.functional.normalize(pooled).cpu().numpy()
        return normalized


def _request(ids: Ids) -> PoolingRequest:
    return PoolingRequest(input_ids=ids, representations=(Representation("embed", PoolingParams()),))
