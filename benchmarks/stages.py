"""Measure the stages of a call with one text, with probes at their boundaries."""

import time
from contextlib import ExitStack
from typing import TYPE_CHECKING, Any, Self

if TYPE_CHECKING:
    from collections.abc import Callable

    from millpond import LLM

# In order; together they are the whole call.
STAGES = ("prompt", "tokenise", "engine", "forward", "pool", "output")
TOKENISE = "_encode"  # the method that calls the tokenizers library


class Stages:
    """A context manager that installs probes in a loaded model.

    ``prompt`` includes validation and the creation of the request, ``engine`` the queue, packing and the return of
    results, ``forward`` the model up to its hidden states, ``pool`` the pooler with head and activation, ``output`` the
    creation of the output object.
    """

    def __init__(self, llm: "LLM") -> None:
        self._llm = llm
        self._spans: dict[str, tuple[float, float]] = {}
        self._probes = ExitStack()

    def __enter__(self) -> Self:
        model, pipeline = self._llm._loaded.model, self._llm.pipeline  # noqa: SLF001  no public access to the model
        task = pipeline.task_of("embed", None)
        self._wrap(task, "encode")
        self._wrap(task, "finish")
        processor: Any = task.processor  # a built-in one, which has a prompt tokenizer
        self._wrap(processor.prompt_tokenizer, TOKENISE)
        self._watch(model, "forward")
        for pooler in model.poolers.values():
            self._watch(pooler, "pool")
        return self

    def __exit__(self, *_: object) -> None:
        self._probes.close()

    def measure(self, texts: list[str]) -> list[dict[str, float]]:
        """Embed texts one at a time; returns the seconds of each stage for each text.

        Raises:
            RuntimeError: If a probe was not reached, because this script does not match the code.
        """
        return [self._measure_one(text) for text in texts]

    def _measure_one(self, text: str) -> dict[str, float]:
        self._spans.clear()
        start = time.perf_counter()
        self._llm.embed(text, truncate_prompt_tokens=-1, use_tqdm=False)
        end = time.perf_counter()
        missing = {"encode", TOKENISE, "forward", "pool", "finish"} - self._spans.keys()
        if missing:
            raise RuntimeError(f"probes not reached: {', '.join(sorted(missing))}; benchmarks/stages.py is out of date")
        seconds = {name: span_end - span_start for name, (span_start, span_end) in self._spans.items()}
        encode_end, finish_start = self._spans["encode"][1], self._spans["finish"][0]
        return {
            "prompt": encode_end - start - seconds[TOKENISE],
            "tokenise": seconds[TOKENISE],
            "engine": finish_start - encode_end - seconds["forward"] - seconds["pool"],
            "forward": seconds["forward"],
            "pool": seconds["pool"],
            "output": end - finish_start,
        }

    def _wrap(self, owner: Any, name: str) -> None:
        inner: Callable[..., Any] = getattr(owner, name)

        def probed(*arguments: Any, **named: Any) -> Any:
            start = time.perf_counter()
            result = inner(*arguments, **named)
            self._spans[name] = start, time.perf_counter()
            return result

        setattr(owner, name, probed)
        self._probes.callback(delattr, owner, name)  # restores the method of the class

    def _watch(self, module: Any, name: str) -> None:
        starts: list[float] = []

        def end(*_: object) -> None:
            self._spans[name] = starts.pop(), time.perf_counter()

        before = module.register_forward_pre_hook(lambda *_: starts.append(time.perf_counter()))
        after = module.register_forward_hook(end)
        self._probes.callback(before.remove)
        self._probes.callback(after.remove)
