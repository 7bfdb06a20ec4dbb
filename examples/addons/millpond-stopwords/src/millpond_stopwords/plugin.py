"""The components that this package registers."""

from collections.abc import Iterator

from millpond.plugin.hookspecs import hookimpl
from millpond.plugin.specs import PoolerSpec
from millpond_stopwords.kinds import StopwordListSpec


@hookimpl
def register_poolers() -> Iterator[PoolerSpec]:
    """Register the pooling type CONTENT."""
    yield PoolerSpec(
        name="CONTENT",
        target="millpond_stopwords.pooling:ContentPooling",
        summary="the mean of the tokens that are not stop words",
        tasks=("embed", "classify"),
    )


@hookimpl
def register_stopword_lists() -> Iterator[StopwordListSpec]:
    """Register the stop words of English; other packages register those of other languages."""
    yield StopwordListSpec(name="english", target="millpond_stopwords.english:WORDS", summary="15 words of English")
