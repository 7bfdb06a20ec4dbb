"""Where the time of one text goes in Millpond: probes at the borders of the stages, for one text at a time."""

import time
from contextlib import ExitStack
from typing import TYPE_CHECKING, Any, Self

if TYPE_CHECKING:
    from collections.abc import Callable

    from millpond import LLM

# In the order in which a text passes them; they add up to the whole call.
STAGES = ("prompt", "tokenise", "engine", "forward", "pool", "output")


class Stages:
    """Probes in a loaded model, as long as the context is open.

    ``prompt`` is what is checked and made of the arguments, ``engine`` the way to a worker, packing, and the way back,
    ``forward`` the model up to its hidden states, ``pool`` the pooler with its head and activation, ``output`` what
    becomes of its result.
    """

    def __init__(self, llm: "LLM") -> None:
        self._llm = llm
        self._spans: dict[str, tuple[float, float]] = {}
        self._probes = ExitStack()

    def __enter__(self) -> Self:
        model, pipeline = self._llm._loaded.model, self._llm.pipeline  # noqa: SLF001  a benchmark looks inside
        task = pipeline.task_of("embed", None)
        self._wrap(task, "encode")
        self._wrap(task, "finish")
        self._wrap(pipeline.ctx.tokenizer, "encode_batch")
        self._watch(model, "forward")
        for pooler in model.poolers.values():
            self._watch(pooler, "pool")
        return self

    def __exit__(self, *_: object) -> None:
        self._probes.close()

    def measure(self, texts: list[str]) -> list[dict[str, float]]:
        """Embed texts one at a time; seconds by stage, for each.

        Raises:
            RuntimeError: If a stage was not passed: the probes do not fit the engine any more.
        """
        return [self._measure_one(text) for text in texts]

    def _measure_one(self, text: str) -> dict[str, float]:
        self._spans.clear()
        begun = time.perf_counter()
        self._llm.embed(text, truncate_prompt_tokens=-1, use_tqdm=False)
        ended = time.perf_counter()
        missing = {"encode", "encode_batch", "forward", "pool", "finish"} - self._spans.keys()
        if missing:
            raise RuntimeError(f"no text passes {', '.join(sorted(missing))}: benchmarks/stages.py is out of date")
        length = {name: end - start for name, (start, end) in self._spans.items()}
        prepared, finishes = self._spans["encode"][1], self._spans["finish"][0]
        return {
            "prompt": prepared - begun - length["encode_batch"],
            "tokenise": length["encode_batch"],
            "engine": finishes - prepared - length["forward"] - length["pool"],
            "forward": length["forward"],
            "pool": length["pool"],
            "output": ended - finishes,
        }

    def _wrap(self, owner: Any, name: str) -> None:
        inner: Callable[..., Any] = getattr(owner, name)

        def probed(*arguments: Any, **named: Any) -> Any:
            start = time.perf_counter()
            result = inner(*arguments, **named)
            self._spans[name] = start, time.perf_counter()
            return result

        setattr(owner, name, probed)
        self._probes.callback(delattr, owner, name)  # the method of the class is what is left

    def _watch(self, module: Any, name: str) -> None:
        starts: list[float] = []

        def end(*_: object) -> None:
            self._spans[name] = starts.pop(), time.perf_counter()

        before = module.register_forward_pre_hook(lambda *_: starts.append(time.perf_counter()))
        after = module.register_forward_hook(end)
        self._probes.callback(before.remove)
        self._probes.callback(after.remove)
