"""Write the output and the error file of a batch that has run, and give it its last status."""

from collections.abc import Callable, Iterable, Iterator
from uuid import NAMESPACE_OID, uuid5

import orjson

from millpond_server.batches.batch import Batch, Counts, Status
from millpond_server.batches.files import FileStore, HashingWriter
from millpond_server.batches.lines import Line
from millpond_server.batches.records import error_record
from millpond_server.batches.results import ResultLog
from millpond_server.batches.store import BatchStore

EXPIRED = "the batch expired before this request"


def write_outputs(batch: Batch, lines: Iterable[Line], log: ResultLog, files: FileStore, batches: BatchStore) -> None:
    """Write the output and the error file, and set the status "completed", "expired" or "cancelled".

    It may run again after a crash: the files keep their ids.

    Args:
        batch: The batch.
        lines: The lines of its input file.
        log: Its results.
        files: The files of clients.
        batches: The batches.

    Raises:
        OSError: If the disk is full.
    """
    status: Status = "completed"
    missing = batch.counts.total - log.completed - log.failed
    if not batches.set_status(batch, "finalizing", after={"in_progress", "finalizing"}):
        status, missing = "cancelled", 0
    elif missing:
        status = "expired"
    batch.counts = Counts(batch.counts.total, log.completed, log.failed + missing)
    if log.completed:
        batch.output_file_id = _write(files, batch, "output", (record for _, record in log.records(errors=False)))
    if batch.counts.failed:
        errors = _errors(batch, lines, log) if missing else (record for _, record in log.records(errors=True))
        batch.error_file_id = _write(files, batch, "error", errors)
    batches.set_status(batch, status)
    log.remove()


def _errors(batch: Batch, lines: Iterable[Line], log: ResultLog) -> Iterator[bytes]:
    """Yield the errors of requests that failed or did not run before the expiry, in the order of the input."""
    failed = log.records(errors=True)
    number, record = next(failed, (0, b""))
    for line in lines:
        if line.number == number:
            yield record
            number, record = next(failed, (0, b""))
        elif line.number not in log:
            yield orjson.dumps(error_record(batch.id, line, "batch_expired", EXPIRED))


def _write(files: FileStore, batch: Batch, kind: str, records: Iterator[bytes]) -> str:
    file_id = f"file-{uuid5(NAMESPACE_OID, f'{batch.id}/{kind}').hex}"
    name = f"{batch.id}_{kind}.jsonl"
    return files.create(batch.owner, name, "batch_output", _writer(records), file_id=file_id).id


def _writer(records: Iterator[bytes]) -> Callable[[HashingWriter], None]:
    def write(file: HashingWriter) -> None:
        for record in records:
            file.write(record + b"\n")

    return write
