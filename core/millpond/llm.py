"""LLM: the offline front door. A thin front: the loading, the pipeline and the engine do the work."""

import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import AbstractContextManager, nullcontext
from os import PathLike
from typing import TYPE_CHECKING, Any, Self

from millpond.config import EngineConfig, ModelConfig, PoolerConfig
from millpond.loading.arguments import read_arguments
from millpond.outputs import EmbeddingOutput, EmbeddingRequestOutput, PoolingOutput, PoolingRequestOutput
from millpond.params import PoolingParams
from millpond.pipeline import Job, Pipeline, check_on_error, retyped, windows
from millpond.tokenization import Params, with_truncation

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase

    from millpond.engine.request import PoolingRequest
    from millpond.io_processor import IOProcessor
    from millpond.loading.resolve import Overrides
    from millpond.plugins import PluginManager

Progress = bool | Callable[..., Any]


class LLM:
    """A pooling model, ready to be asked; ``with LLM(...) as llm:`` or ``llm.close()`` ends its workers.

    Calls from several threads take turns.

    Attributes:
        model_config: What is known of the model: ``max_model_len``, ``hf_config``, ``pooler_config``, ``tasks``.
    """

    def __init__(
        self,
        model: str,
        *,
        runner: str = "auto",
        convert: str = "auto",
        dtype: str = "auto",
        max_model_len: int | None = None,
        pooler_config: PoolerConfig | Mapping[str, object] | str | None = None,
        hf_overrides: "Overrides" = None,
        trust_remote_code: bool = False,
        allow_pickle: bool = False,
        revision: str | None = None,
        hf_token: str | bool | None = None,
        download_dir: str | None = None,
        skip_tokenizer_init: bool = False,
        device: str = "auto",
        kernels: Mapping[str, str] | None = None,
        quantization: str | None = None,
        deterministic: bool = False,
        dedupe: bool = True,
        max_num_batched_tokens: int | None = None,
        max_num_seqs: int | None = None,
        num_workers: int | None = None,
        profile: bool | str | PathLike[str] = True,
        plugins: "PluginManager | None" = None,
        **other: object,
    ) -> None:
        """Load a model.

        Args:
            model: A folder, a hub id (``org/name``), or ``scheme:name`` to ask one source.
            runner: "auto" or "pooling".
            convert: The converter that makes a pooling model of another; "auto" chooses, "none" forbids.
            dtype: "auto" keeps the checkpoint's, in float32 where the device does not compute in it natively.
            max_model_len: The most tokens of a prompt; by default what the checkpoint states.
            pooler_config: How hidden states become the result, as object, dict or JSON text.
            hf_overrides: Replaces parts of config.json: a dict, or a function of the config that returns one.
            trust_remote_code: Whether code in the model's folder may be run; native models have no use for it.
            allow_pickle: Whether weights may be pickles, read with ``weights_only=True``.
            revision: The hub's branch, tag or commit.
            hf_token: The hub's access token.
            download_dir: The folder that downloads are kept in.
            skip_tokenizer_init: Load no tokenizer: prompts are token ids.
            device: "auto", "cpu", "cuda", "cuda:1" ...
            kernels: The variants of ops to take, such as ``{"attention": "sdpa"}``.
            quantization: "int8" computes the model's linear maps in 8-bit integers: about twice as fast, and close to
                the same; None leaves all in the dtype.
            deterministic: Whether each result is the same to the bit whatever else is in the call and its batches.
            dedupe: Whether prompts that are equal within a call are computed once; each has its output all the same.
            max_num_batched_tokens: The most tokens of a batch.
            max_num_seqs: The most prompts of a batch.
            num_workers: Single-threaded workers on a CPU; by default one a core.
            profile: Whether what ``millpond tune`` stored for such a model is taken for what is not said here; or the
                file of a profile.
            plugins: The plugins to use; by default all that are installed.
            **other: vLLM's arguments: those with a meaning here are taken, the rest are accepted and logged.

        Raises:
            ModelNotFoundError: If no source has the model.
            CheckpointError: If its files are damaged or contradict each other.
            UnknownNameError: If nothing serves its architecture.
            InvalidInputError: If an argument does not fit.
        """
        from millpond.engine.engine import Engine  # noqa: PLC0415  needs torch
        from millpond.engine.runner import Runner  # noqa: PLC0415
        from millpond.loading.build import load_model  # noqa: PLC0415

        arguments = read_arguments(
            {
                "runner": runner,
                "convert": convert,
                "dtype": dtype,
                "max_model_len": max_model_len,
                "pooler_config": pooler_config,
                "hf_overrides": hf_overrides,
                "trust_remote_code": trust_remote_code,
                "allow_pickle": allow_pickle,
                "revision": revision,
                "hf_token": hf_token,
                "download_dir": download_dir,
                "skip_tokenizer_init": skip_tokenizer_init,
                "device": device,
                "kernels": kernels,
                "quantization": quantization,
                "deterministic": deterministic,
                "dedupe": dedupe,
                "max_num_batched_tokens": max_num_batched_tokens,
                "max_num_seqs": max_num_seqs,
                "num_workers": num_workers,
                "profile": profile,
                **other,
            }
        )
        self._loaded = load_model(model, arguments, plugins)
        self.engine_config: EngineConfig = self._loaded.engine
        self.pipeline = Pipeline(self._loaded.context, dedupe=arguments.dedupe)
        self._engine = Engine(
            Runner(self._loaded.model, device=self._loaded.context.device, num_workers=self.engine_config.num_workers),
            self.engine_config,
        )
        self._lock = threading.Lock()

    @property
    def model_config(self) -> ModelConfig:
        """What is known of the model."""
        return self._loaded.config

    @property
    def supported_tasks(self) -> tuple[str, ...]:
        """The pooling tasks of the model."""
        return self._loaded.config.tasks

    @property
    def llm_engine(self) -> Self:
        """The object with ``model_config``, where vLLM has it."""
        return self

    def get_tokenizer(self) -> "PreTrainedTokenizerBase":
        """The model's tokenizer, as transformers has it."""
        from transformers import AutoTokenizer

        folder = str(self._loaded.resolution.repository.transformer_path)
        tokenizer: PreTrainedTokenizerBase = AutoTokenizer.from_pretrained(folder, local_files_only=True)
        return tokenizer

    def embed(
        self,
        prompts: object,
        *,
        use_tqdm: Progress = True,
        pooling_params: Params = None,
        truncate_prompt_tokens: int | None = None,
        tokenization_kwargs: Mapping[str, Any] | None = None,
        lora_request: None = None,
        on_error: str = "raise",
    ) -> list[EmbeddingRequestOutput]:
        """One vector a prompt, in the order of the prompts.

        Args:
            prompts: A text, a list of token ids, ``{"prompt": ...}``, ``{"prompt_token_ids": ...}``; or a list of
                these.
            use_tqdm: Whether long work shows its progress on stderr; or what to make the progress bar with.
            pooling_params: Parameters for all prompts, or one for each.
            truncate_prompt_tokens: Cut prompts to so many tokens; -1 for the model's maximum. By default a prompt
                that is too long is an error.
            tokenization_kwargs: ``truncate_prompt_tokens``, ``truncation_side``, as in vLLM.
            lora_request: Not supported.
            on_error: "raise" the first error; or "return" it as ``error`` of the prompt's output.

        Raises:
            InvalidInputError: If a prompt or a parameter cannot be served; names the prompt's place.
            EngineError: If the model fails on a prompt.
        """
        outputs = self._run(
            prompts,
            with_truncation(pooling_params, truncate_prompt_tokens, tokenization_kwargs, lora_request),
            "embed",
            use_tqdm,
            on_error,
        )
        return [retyped(output, EmbeddingRequestOutput, EmbeddingOutput) for output in outputs]

    def encode(
        self,
        prompts: object,
        pooling_params: Params = None,
        *,
        use_tqdm: Progress = True,
        pooling_task: str | None = None,
        truncate_prompt_tokens: int | None = None,
        tokenization_kwargs: Mapping[str, Any] | None = None,
        lora_request: None = None,
        on_error: str = "raise",
    ) -> list[PoolingRequestOutput[Any]]:
        """The bare result of any pooling task: ``output.outputs.data`` is a tensor.

        Args:
            prompts: As for ``embed``.
            pooling_params: As for ``embed``.
            use_tqdm: As for ``embed``.
            pooling_task: "embed", "token_embed", or another task that the model serves.
            truncate_prompt_tokens: As for ``embed``.
            tokenization_kwargs: As for ``embed``.
            lora_request: Not supported.
            on_error: As for ``embed``.
        """
        params = with_truncation(pooling_params, truncate_prompt_tokens, tokenization_kwargs, lora_request)
        outputs = self._run(prompts, params, pooling_task, use_tqdm, on_error)
        return [retyped(output, PoolingRequestOutput, PoolingOutput) for output in outputs]

    def close(self) -> None:
        """End the workers, once the calls of other threads are done. The model cannot be asked afterwards."""
        with self._lock:
            self._engine.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def _run(
        self, prompts: object, params: Params, task: str | None, use_tqdm: Progress, on_error: str
    ) -> list[PoolingRequestOutput[Any]]:
        check_on_error(on_error)
        processor, items = self.pipeline.split(prompts, params, task)
        places = self.pipeline.places(items)
        outputs: list[PoolingRequestOutput[Any] | None] = [None] * len(items)
        with self._lock, _progress(use_tqdm, len(items)) as bar:
            try:
                for job in self._jobs(processor, list(places), items):
                    for place, output in self.pipeline.finish_all(job, places[job.index]):
                        if output.error is not None and on_error == "raise":
                            raise output.error
                        outputs[place] = output
                    if bar is not None:
                        bar.update(len(places[job.index]))
            finally:
                self._engine.abort()
        return self.pipeline.numbered(output for output in outputs if output is not None)

    def _jobs(
        self, processor: "IOProcessor[Any, Any]", places: Sequence[int], items: Sequence[tuple[object, PoolingParams]]
    ) -> Iterator[Job]:
        """The jobs of some places as they end. While one window of prompts is computed, the next is tokenised."""

        def prepare(window: range) -> list[Job]:
            chosen = places[window.start : window.stop]
            return self.pipeline.prepare(processor, chosen, [items[place] for place in chosen])

        ranges = windows(len(places))
        first = next(ranges)
        ready = prepare(first)
        if first.stop == len(places):
            yield from self._compute(ready)
            return
        with ThreadPoolExecutor(1, thread_name_prefix="millpond-render") as pool:

            def prepare_next() -> Future[list[Job]] | None:
                window = next(ranges, None)
                return None if window is None else pool.submit(prepare, window)

            coming = prepare_next()
            yield from self._start(ready)
            while coming is not None or self._engine.has_work:
                if coming is not None and (coming.done() or not self._engine.has_work) and self._has_room():
                    ready, coming = coming.result(), prepare_next()
                    yield from self._start(ready)
                    continue
                yield from _ended(self._engine.step())

    def _compute(self, jobs: list[Job]) -> Iterator[Job]:
        yield from self._start(jobs)
        while self._engine.has_work:
            yield from _ended(self._engine.step())

    def _start(self, jobs: list[Job]) -> Iterator[Job]:
        """Let the requests of jobs wait, longest first; the jobs that need no computing have ended."""
        requests = [request for job in jobs for request in job.requests]
        for request in sorted(requests, key=lambda request: -request.num_tokens):
            self._engine.add(request)
        yield from (job for job in jobs if not job.requests)

    def _has_room(self) -> bool:
        """Whether so little waits that the next window may be let in: memory stays bounded."""
        enough = 16 * self._engine.runner.num_workers * self.engine_config.max_num_batched_tokens
        return self._engine.scheduler.waiting_tokens < enough


def _ended(requests: "list[PoolingRequest]") -> Iterator[Job]:
    for request in requests:
        job: Job = request.owner
        job.left -= 1
        if job.left == 0:
            yield job


def _progress(use_tqdm: Progress, total: int) -> AbstractContextManager[Any]:
    if not use_tqdm:
        return nullcontext()
    from tqdm import tqdm  # noqa: PLC0415  only for who wants to see it

    make, patience = (tqdm, {"delay": 1.0}) if use_tqdm is True else (use_tqdm, {})  # short work shows nothing
    bar: AbstractContextManager[Any] = make(total=total, desc="Processed prompts", dynamic_ncols=True, **patience)
    return bar
