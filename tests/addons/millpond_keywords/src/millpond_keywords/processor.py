"""The IO processor of the task ``keywords``."""

from dataclasses import dataclass

import numpy as np

from millpond import IOProcessor
from millpond.context import TaskContext
from millpond.engine.request import PoolingRequest, Representation
from millpond.pipeline.io_processor import Call, Job
from millpond.types.errors import InvalidInputError
from millpond_keywords.task import Keyword, Keywords, KeywordsOptions


@dataclass(eq=False, kw_only=True, slots=True)
class TextJob(Job):
    """The sequence of a text.

    Attributes:
        words: The word of each token; empty for a special token.
        options: The options of the call.
    """

    words: tuple[str, ...]
    options: KeywordsOptions


class KeywordsProcessor(IOProcessor[Keywords]):
    """Converts a text to the words whose vectors are closest to the mean of all vectors."""

    @classmethod
    def refusal(cls, ctx: TaskContext) -> str | None:
        """Refuse models without a tokenizer."""
        return (
            None if ctx.tokenizer is not None else "the task 'keywords' requires a tokenizer, and this model has none"
        )

    def encode(self, call: Call) -> list[Job]:
        """Return the job for each text."""
        return [self._job(data, call) for data in call.prompts]

    def decode(self, job: Job) -> Keywords:
        """Return the words of a text with the highest scores."""
        assert isinstance(job, TextJob)
        vectors = job.sequences[0].results[0]
        center = vectors.mean(axis=0)
        scores = vectors @ center / (np.linalg.norm(vectors, axis=1) * np.linalg.norm(center))
        best: dict[str, float] = {}
        for word, score in zip(job.words, scores.tolist(), strict=True):
            if len(word) >= job.options.min_length:
                best[word] = max(score, best.get(word, -1.0))
        ranked = sorted(best.items(), key=lambda item: -item[1])[: job.options.top_n]
        return Keywords(tuple(Keyword(word=word, score=score) for word, score in ranked))

    def _job(self, data: object, call: Call) -> Job:
        tokenizer = self.ctx.tokenizer
        if not isinstance(data, str) or not data or tokenizer is None:
            return Job(error=InvalidInputError("keywords accepts only texts", parameter="prompts"))
        encoding = tokenizer.backend.encode(data)  # with the offsets of each token
        ids = encoding.ids[: self.ctx.model.max_model_len]
        masks, offsets = encoding.special_tokens_mask, encoding.offsets
        words = tuple("" if masks[index] else data[slice(*offsets[index])] for index in range(len(ids)))
        sequence = PoolingRequest(
            input_ids=np.asarray(ids, dtype=np.int64),
            representations=(Representation("token_embed", call.params),),
            num_dropped_tokens=len(encoding.ids) - len(ids),
        )
        return TextJob(sequences=(sequence,), words=words, options=call.options)
