"""Pairs of a query and a document, from the command line, one file of pairs, or a file of each."""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace

from millpond_cli.io.inputs import Input
from millpond_cli.io.rows import Keys, Row, choose_keys, count_rows, open_rows
from millpond_cli.io.source import STDIN, Source, choose_source, refuse_files
from millpond_cli.options import ReadingPairs
from millpond_command.cli import USAGE, CommandError

PAIR = Keys(query="query", text="document", text_option="--document-key")


def pairs_of(texts: Sequence[str], reading: ReadingPairs, *, documents_are_files: bool = False) -> Input:
    """Return the pairs that the command line names.

    Args:
        texts: The texts on the command line: a query, and documents.
        reading: The other places that they may be in.
        documents_are_files: True if documents are the names of files, as those of images are.

    Raises:
        CommandError: It names no pairs, half of them, two sources, or a file in place of a text.
    """
    refuse_files(texts[:1], option="--queries")
    if not documents_are_files:
        refuse_files(texts[1:], option="--documents")
    if reading.queries is not None or reading.documents is not None:
        return _of_two(texts, reading)
    if len(texts) > 1:
        source = choose_source(texts[1:], reading.input_path, reading.input_format, called="document")
        return with_query(texts[0], source, choose_keys(source, id_key=reading.id_key))
    if texts and texts[0] != STDIN:
        message = "there is a query, and no document"
        hint = "pass both, or the documents by --documents FILE, or pairs by --input FILE"
        raise CommandError(message, hint=hint, exit_code=USAGE)
    source = choose_source(texts, reading.input_path, reading.input_format)
    keys = choose_keys(source, text_key=reading.document_key, id_key=reading.id_key, plain=PAIR)
    if reading.query_key is not None and not source.has_fields:
        message = f"--query-key names a field of JSONL or a column of CSV, and the pairs come as {source.kind}"
        raise CommandError(
            message, hint="--input-format jsonl, csv or tsv states the format of the input", exit_code=USAGE
        )
    return Input.of(source, replace(keys, query=reading.query_key or keys.query))


def with_query(query: str, source: Source, keys: Keys) -> Input:
    """Return one query with each document of a source.

    Raises:
        CommandError: The query is empty.
    """
    if not query:
        message = "the query is empty: pass at least one character"
        raise CommandError(message, exit_code=USAGE)

    @contextmanager
    def rows() -> Iterator[Iterator[Row]]:
        with open_rows(source, keys) as documents:
            yield (replace(row, query=query) for row in documents)

    return Input(name=source.name, rows=rows, has_fields=source.has_fields, count=lambda: count_rows(source))


def _of_two(texts: Sequence[str], reading: ReadingPairs) -> Input:
    if reading.input_path is not None or len(texts) > 1 or (texts and reading.queries is not None):
        message = "queries and documents come from --queries and --documents, and from somewhere else, too"
        hint = "name each once: QUERY or --queries FILE, with --documents FILE; or pairs by --input FILE"
        raise CommandError(message, hint=hint, exit_code=USAGE)
    if reading.documents is None or not (texts or reading.queries):
        missing = "--documents" if reading.documents is None else "QUERY or --queries"
        message = f"{missing} is missing: a pair is a query and a document"
        raise CommandError(message, exit_code=USAGE)
    documents = choose_source((), reading.documents, reading.input_format)
    plain = Keys(text_option="--document-key")
    document_keys = choose_keys(documents, text_key=reading.document_key, id_key=reading.id_key, plain=plain)
    if reading.queries is None:
        return with_query(texts[0], documents, document_keys)
    if STDIN == reading.queries == reading.documents:
        message = "--queries and --documents cannot both be stdin"
        raise CommandError(message, exit_code=USAGE)
    queries = choose_source((), reading.queries, reading.input_format)
    plain = Keys(text_option="--query-key")
    query_keys = choose_keys(queries, text_key=reading.query_key, id_key=None, plain=plain)

    @contextmanager
    def rows() -> Iterator[Iterator[Row]]:
        with open_rows(queries, query_keys) as first, open_rows(documents, document_keys) as second:
            yield _paired(first, second, queries.name, documents.name)

    return Input(name=documents.name, rows=rows, has_fields=documents.has_fields, count=lambda: count_rows(documents))


def _paired(queries: Iterator[Row], documents: Iterator[Row], first: str, second: str) -> Iterator[Row]:
    """Yield one query with each document, or each document with its own query.

    Raises:
        CommandError: There are more of the one than of the other.
    """
    query, following = next(queries, None), next(queries, None)
    if query is None:
        message = f"{first} holds no query"
        raise CommandError(message)
    if following is None:
        if query.error:
            message = f"{query.place}: {query.error}"
            raise CommandError(message)
        yield from (replace(document, query=query.text) for document in documents)
        return
    for document in documents:
        if query is None:
            message = f"{second} holds more documents than {first} holds queries: {document.place} has none"
            raise CommandError(message, hint="there must be one query, or one a document")
        yield _pair(query, document)
        query, following = following, next(queries, None)
    if query is not None:
        message = f"{first} holds more queries than {second} holds documents: {query.place} has none"
        raise CommandError(message, hint="there must be one query, or one a document")


def _pair(query: Row, document: Row) -> Row:
    row = replace(document, query=query.text, place=f"{document.place}, with {query.place}")
    return row if not query.error or row.error else replace(row, text="", error=query.error)
