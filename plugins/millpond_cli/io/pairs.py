"""Pairs of a query and a document: from arguments, a file of pairs, or separate files of queries and documents."""

from collections.abc import Generator, Iterator, Sequence
from dataclasses import replace

from millpond_cli.io.inputs import Input
from millpond_cli.io.rows import Keys, Row, choose_keys, no_fields, open_rows
from millpond_cli.io.source import STDIN, Source, choose_source, refuse_files
from millpond_cli.options import PairInputOptions
from millpond_command.cli import USAGE, CommandError

PAIR_KEYS = Keys(query="query", text="document", text_option="--document-key")
PAIRING_HINT = "provide one query, or one query per document"


def pairs_of(texts: Sequence[str], input_options: PairInputOptions, *, documents_are_files: bool = False) -> Input:
    """Return the pairs of a command.

    Args:
        texts: The arguments: a query and its documents.
        input_options: The options of the input.
        documents_are_files: True if documents are the paths of files, such as images.

    Raises:
        CommandError: There are no pairs or incomplete pairs, more than one source, or a path instead of a text.
    """
    refuse_files(texts[:1], option="--queries")
    if not documents_are_files:
        refuse_files(texts[1:], option="--documents")
    if input_options.queries is not None or input_options.documents is not None:
        return _from_two_files(texts, input_options)
    if len(texts) > 1:
        source = choose_source(texts[1:], input_options.input_path, input_options.input_format, noun="document")
        return with_query(texts[0], source, choose_keys(source, id_key=input_options.id_key))
    if texts and texts[0] != STDIN:
        message = "the document is missing"
        hint = "pass a query and documents, or use --documents FILE, or --input FILE for pairs"
        raise CommandError(message, hint=hint, exit_code=USAGE)
    source = choose_source(texts, input_options.input_path, input_options.input_format)
    keys = choose_keys(source, text_key=input_options.document_key, id_key=input_options.id_key, default_keys=PAIR_KEYS)
    if input_options.query_key is not None and not source.has_fields:
        raise no_fields("--query-key", source)
    return Input.of(source, replace(keys, query=input_options.query_key or keys.query))


def with_query(query: str, source: Source, keys: Keys) -> Input:
    """Return pairs of one query with each document of a source."""
    return replace(Input.of(source, keys), rows=lambda: (replace(row, query=query) for row in open_rows(source, keys)))


def _from_two_files(texts: Sequence[str], input_options: PairInputOptions) -> Input:
    if input_options.input_path is not None or len(texts) > 1 or (texts and input_options.queries is not None):
        message = "--queries and --documents cannot be combined with other sources of queries and documents"
        hint = "use QUERY or --queries FILE, with --documents FILE; or --input FILE for pairs"
        raise CommandError(message, hint=hint, exit_code=USAGE)
    if input_options.documents is None or not (texts or input_options.queries):
        missing = "--documents" if input_options.documents is None else "QUERY or --queries"
        message = f"{missing} is missing; a pair consists of a query and a document"
        raise CommandError(message, exit_code=USAGE)
    documents = choose_source((), input_options.documents, input_options.input_format)
    document_keys = choose_keys(
        documents,
        text_key=input_options.document_key,
        id_key=input_options.id_key,
        default_keys=Keys(text_option="--document-key"),
    )
    if input_options.queries is None:
        return with_query(texts[0], documents, document_keys)
    if STDIN == input_options.queries == input_options.documents:
        message = "--queries and --documents cannot both be stdin"
        raise CommandError(message, exit_code=USAGE)
    queries = choose_source((), input_options.queries, input_options.input_format)
    query_keys = choose_keys(
        queries, text_key=input_options.query_key, id_key=None, default_keys=Keys(text_option="--query-key")
    )

    def rows() -> Generator[Row]:
        return _paired(
            open_rows(queries, query_keys), open_rows(documents, document_keys), queries.name, documents.name
        )

    return replace(Input.of(documents, document_keys), rows=rows, files=(*queries.files, *documents.files))


def _paired(queries: Iterator[Row], documents: Iterator[Row], queries_name: str, documents_name: str) -> Generator[Row]:
    """Yield each document with its query, or with the only query.

    Raises:
        CommandError: The number of queries is neither one nor the number of documents.
    """
    query, next_query = next(queries, None), next(queries, None)
    if query is None:
        message = f"{queries_name} contains no query"
        raise CommandError(message)
    if next_query is None:
        if query.error:
            message = f"{query.location}: {query.error}"
            raise CommandError(message)
        yield from (replace(document, query=query.text) for document in documents)
        return
    for document in documents:
        if query is None:
            message = f"{documents_name} has more rows than {queries_name}: {document.location} has no query"
            raise CommandError(message, hint=PAIRING_HINT)
        yield _pair(query, document)
        query, next_query = next_query, next(queries, None)
    if query is not None:
        message = f"{queries_name} has more rows than {documents_name}: {query.location} has no document"
        raise CommandError(message, hint=PAIRING_HINT)


def _pair(query: Row, document: Row) -> Row:
    row = replace(document, query=query.text, location=f"{document.location}, with {query.location}")
    return row if not query.error or row.error else replace(row, text="", error=query.error)
