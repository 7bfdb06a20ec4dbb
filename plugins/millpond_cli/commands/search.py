"""``millpond search``: semantic search in a file or folder, with an index that is kept beside it."""

import json
import os
from collections.abc import Callable, Iterator, Sequence
from contextlib import closing
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, Annotated, Any

import typer

from millpond.plugin.manager import get_plugin_manager
from millpond_cli import options
from millpond_cli.arguments import load_model
from millpond_cli.io.interrupts import ending_signals_raised
from millpond_cli.io.notes import warn
from millpond_cli.io.rows import Row, check_action
from millpond_cli.search.passages import Corpus, open_corpus
from millpond_command import declare
from millpond_command.cli import PARTIAL, USAGE, CommandError, echo
from millpond_command.model_arguments import arguments_of, read_expected_space
from millpond_command.model_options import MODEL_OPTIONS, ExpectSpace, ProgressOptions, RunOptions
from millpond_command.progress import Progress
from millpond_command.tables import is_terminal, tab_separated, table

if TYPE_CHECKING:
    from pathlib import Path

    import numpy as np
    from numpy.typing import NDArray

    from millpond_cli.search.embedder import Embedder
    from millpond_cli.search.index import SearchIndex
    from millpond_cli.search.ranking import Hit

EXAMPLES = (
    'millpond search "how to dry tea" notes.txt',
    'millpond search "refund policy" docs/ -k 3',
    'millpond search "flat tyre" reviews.jsonl --text-key body --json',
    'millpond search "how to dry tea" notes.txt --rerank BAAI/bge-reranker-base',
    'git log --format=%s | millpond search "faster start" -',
)

app = declare.new_app()

Query = Annotated[str, typer.Argument(metavar="QUERY", help="The query.", show_default=False)]
SearchedSource = Annotated[
    str,
    typer.Argument(
        metavar="FILE",
        help="A .txt, .md, .jsonl, .csv, .tsv or .parquet file, a folder of .txt and .md files, or - for stdin.",
        show_default=False,
    ),
]
TopK = Annotated[int, declare.option("Output", "--top-k", "-k", metavar="N", least=1, help="Show the N best passages.")]
NoIndex = Annotated[
    bool, declare.option("Index", "--no-index", help="Neither read nor write an index; compute all vectors.")
]
Rerank = Annotated[
    str | None,
    declare.option("Ranking", "--rerank", metavar="MODEL", help="Order the best passages again with this reranker."),
]
Candidates = Annotated[
    int,
    declare.option(
        "Ranking", "--candidates", metavar="N", least=1, help="With --rerank: the number of passages that it scores."
    ),
]
QueryPrompt = Annotated[
    str | None,
    declare.option(
        "Prompt", "--query-prompt", metavar="TEXT", help="Prepend TEXT to the query. (default: from the model)"
    ),
]
DocumentPrompt = Annotated[
    str | None,
    declare.option(
        "Prompt", "--document-prompt", metavar="TEXT", help="Prepend TEXT to each passage. (default: from the model)"
    ),
]


@dataclass(kw_only=True)
class Failures:
    """Passages that cannot be read or embedded: the first one ends the command, unless they are skipped."""

    are_skipped: bool
    count: int = 0

    def report(self, row: Row, message: str) -> None:
        """Report a failure.

        Raises:
            CommandError: Failures are not skipped.
        """
        if not self.are_skipped:
            raise CommandError(f"{row.location}: {message}", hint="--on-error skip skips texts that fail")
        warn(f"{row.location}: {message}")
        self.count += 1


@declare.command(app, examples=EXAMPLES)
def search(
    *,
    query: Query,
    source: SearchedSource,
    input_format: options.InputFormat = None,
    text_key: options.TextKey = None,
    id_key: options.IdKey = None,
    on_error: options.OnError = "raise",
    top_k: TopK = 10,
    as_json: options.AsJson = False,
    progress_options: ProgressOptions,
    no_index: NoIndex = False,
    rerank: Rerank = None,
    candidates: Candidates = 50,
    model: options.ModelOption = options.DEFAULT_MODEL,
    expect_space: ExpectSpace = None,
    run_options: RunOptions,
    dimensions: options.Dimensions = None,
    query_prompt: QueryPrompt = None,
    document_prompt: DocumentPrompt = None,
) -> None:
    """Search a file or folder for the passages that are most similar to a query.

    A passage is a line of a text file, a row of JSONL, CSV or parquet, or some paragraphs of Markdown and of the files
    in a folder. Long passages are truncated. Vectors are kept in a folder .millpond beside the file: the next search
    computes only those of new and changed passages.

    The output is a table on a terminal, and tab-separated score, location and text elsewhere.
    """
    failures = Failures(are_skipped=check_action(on_error))
    if os.path.isfile(query):  # noqa: PTH113  Path raises for long texts
        message = f"{query!r} is a file, but the first argument is the query"
        raise CommandError(message, hint="millpond search QUERY FILE", exit_code=USAGE)
    expected = read_expected_space(expect_space)
    corpus = open_corpus(source, input_format=input_format, text_key=text_key, id_key=id_key)
    arguments = arguments_of(run_options)
    if rerank is not None:
        _check_model(rerank)
    with ending_signals_raised(), load_model(model, run_options) as llm:
        if "embed" not in llm.supported_tasks:
            message = f"{model!r} does not serve the task 'embed'. Available: {', '.join(llm.supported_tasks)}"
            raise CommandError(message, hint="rerankers are used with --rerank", exit_code=USAGE)
        if expected is not None:
            space = llm.space.of_call(dimensions=dimensions, query_prompt=query_prompt, document_prompt=document_prompt)
            space.require(expected)
        from millpond_cli.search.embedder import Embedder  # noqa: PLC0415  imports torch, which --help does not need

        embedder = Embedder(
            llm=llm,
            arguments=arguments,
            query_prompt=query_prompt,
            document_prompt=document_prompt,
            dimensions=dimensions,
            report=failures.report,
        )
        path = None if no_index else _index_path(corpus, (model, arguments, dimensions, document_prompt))
        index = _current_index(corpus, embedder, path, progress_options)
        hits = _similar(index, embedder, query, top_k if rerank is None else max(top_k, candidates))
    if rerank is not None:
        hits = _reranked(hits, query, rerank, arguments)
    _print(hits[:top_k], corpus, query, as_json=as_json)
    if failures.count:
        raise typer.Exit(PARTIAL)


def _check_model(model: str) -> None:
    """Check that a model exists.

    Raises:
        ModelNotFoundError: If no source has it.
    """
    from millpond.model.source import SourceOptions, find_repository  # noqa: PLC0415  needs pydantic

    find_repository(get_plugin_manager().registry, model, SourceOptions())


def _index_path(corpus: Corpus, options: Sequence[object]) -> "Path | None":
    from millpond_cli.search.index import index_path  # noqa: PLC0415  imports numpy

    return None if corpus.path is None else index_path(corpus.path, [*options, *corpus.settings])


def _current_index(
    corpus: Corpus, embedder: "Embedder", path: "Path | None", progress_options: ProgressOptions
) -> "SearchIndex":
    """Return the index of a corpus: that in the file, updated if the corpus has changed."""
    from millpond_cli.search import index as indices  # noqa: PLC0415  imports numpy

    fingerprint = "" if path is None else embedder.fingerprint()
    previous = None if path is None else indices.load_index(path, fingerprint)
    stamps = indices.stamps_of(corpus.files())
    if previous is not None and previous.stamps == stamps:
        return previous
    rows = _read(corpus, embedder.report)
    embed = partial(_embed, embedder, shown=progress_options.shows_progress)
    index = indices.update(previous or indices.empty_index(fingerprint), rows, stamps, embed)
    if path is not None:
        _save(index, path)
    if embedder.interruption is not None:
        resumes = "" if path is None else "; the next search computes the others"
        warn(f"interrupted after {len(index):,} of {len(rows):,} passages{resumes}")
        raise embedder.interruption
    if not progress_options.quiet:
        _warn(corpus, embedder, index)
    return index


def _embed(embedder: "Embedder", rows: Sequence[Row], *, shown: bool | None) -> "Iterator[NDArray[np.float32]]":
    """Yield the vectors of passages in blocks, and show the progress."""
    with closing(Progress(shown=shown, total=lambda: len(rows), unit="passages")) as progress:
        yield from embedder.passages(rows, progress)
        if embedder.interruption is None:
            progress.finish()


def _read(corpus: Corpus, report: Callable[[Row, str], None]) -> list[Row]:
    """Return the passages that contain text.

    Raises:
        CommandError: A row cannot be read, and is not skipped.
    """
    passages: list[Row] = []
    for row in corpus.rows():
        if row.error:
            report(row, row.error)
        elif row.text.strip():
            passages.append(row)
    return passages


def _save(index: "SearchIndex", path: "Path") -> None:
    try:
        index.save(path)
    except OSError as error:
        warn(f"cannot write the index {path}: {error.strerror or error}; the next search computes all vectors again")


def _warn(corpus: Corpus, embedder: "Embedder", index: "SearchIndex") -> None:
    if not len(index):
        warn(f"{corpus.name} contains no text")
    if embedder.truncated:
        longest = embedder.llm.model_config.max_model_len
        warn(f"{embedder.truncated} of {len(index)} passages were truncated to {longest} tokens")


def _similar(index: "SearchIndex", embedder: "Embedder", query: str, count: int) -> "list[Hit]":
    """Return the passages with the most similar vectors, best first."""
    from millpond_cli.search.ranking import Hit, best, similarities  # noqa: PLC0415  imports numpy

    if not len(index):
        return []
    scores = similarities(embedder.llm.model_config.embedding.similarity, embedder.query(query), index.vectors)
    ranked = ((number, round(float(scores[number]), 6)) for number in best(scores, count))
    return [Hit(row=index.row(number), score=score, similarity=score) for number, score in ranked]


def _reranked(hits: "list[Hit]", query: str, model: str, arguments: dict[str, Any]) -> "list[Hit]":
    """Return the passages in the order of a reranker, which computes with the same device and kernels."""
    from millpond.llm import LLM  # noqa: PLC0415  needs pydantic
    from millpond_cli.search.ranking import reranked  # noqa: PLC0415  imports numpy

    computing = {name: value for name, value in arguments.items() if MODEL_OPTIONS[name].group == "computing"}
    with LLM(model, **computing) as reranker:
        return reranked(hits, query, reranker)


def _print(hits: "Sequence[Hit]", corpus: Corpus, query: str, *, as_json: bool) -> None:
    if as_json:
        results = [
            {
                "rank": rank,
                "score": hit.score,
                "similarity": hit.similarity,
                "index": hit.row.index,
                "id": hit.row.id,
                "location": hit.row.location,
                "text": hit.row.text,
            }
            for rank, hit in enumerate(hits, start=1)
        ]
        echo(json.dumps({"query": query, "source": corpus.name, "results": results}, indent=2, ensure_ascii=False))
        return
    if not is_terminal():
        if hits:
            echo(tab_separated([[f"{hit.score:.6f}", hit.row.location, hit.row.text] for hit in hits]))
        return
    rows = [
        [str(rank), f"{hit.score:.4f}", corpus.short(hit.row.location), hit.row.text]
        for rank, hit in enumerate(hits, start=1)
    ]
    echo(table([["RANK", "SCORE", "LOCATION", "TEXT"], *rows], right=(0, 1)))
