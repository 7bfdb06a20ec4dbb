"""openai for Python: files and batches; sync and async."""

import asyncio
import io
import json
import time

import openai
from report import ADDRESS, MODEL, TEXTS, end, refusal, vectors

ENDED = ("completed", "failed", "expired", "cancelled")
DEADLINE_S = 120.0
client = openai.OpenAI(base_url=f"{ADDRESS}/v1", api_key="EMPTY", max_retries=0)


def lines_of(texts):
    """Return a file with a request for each text."""
    lines = [
        {
            "custom_id": f"row-{number}",
            "method": "POST",
            "url": "/v1/embeddings",
            "body": {"model": MODEL, "input": text},
        }
        for number, text in enumerate(texts)
    ]
    return "".join(json.dumps(line) + "\n" for line in lines).encode()


def finished(batch):
    """Poll a batch until it has ended."""
    deadline = time.monotonic() + DEADLINE_S
    while batch.status not in ENDED and time.monotonic() < deadline:
        time.sleep(0.05)
        batch = client.batches.retrieve(batch.id)
    return batch


def embeddings(text):
    """Return the vectors in the lines of an output file."""
    records = [json.loads(line) for line in text.splitlines()]
    assert [record["custom_id"] for record in records] == [f"row-{number}" for number in range(len(records))]
    assert all(record["error"] is None and record["response"]["status_code"] == 200 for record in records)
    return [record["response"]["body"]["data"][0]["embedding"] for record in records]


content = lines_of(TEXTS)
file = client.files.create(file=("rows.jsonl", content), purpose="batch")
assert (file.object, file.bytes, file.filename, file.purpose) == ("file", len(content), "rows.jsonl", "batch")
assert file.status == "processed"
assert client.files.retrieve(file.id) == file
assert client.files.content(file.id).read() == content
assert client.files.wait_for_processing(file.id).id == file.id

batch = client.batches.create(
    input_file_id=file.id, endpoint="/v1/embeddings", completion_window="24h", metadata={"night": "7"}
)
assert (batch.object, batch.endpoint, batch.completion_window) == ("batch", "/v1/embeddings", "24h")
assert batch.metadata == {"night": "7"}
batch = finished(batch)
assert batch.status == "completed", batch
assert (batch.request_counts.total, batch.request_counts.completed, batch.request_counts.failed) == (
    len(TEXTS),
) * 2 + (0,)
assert batch.error_file_id is None
vectors("a batch", TEXTS, embeddings(client.files.content(batch.output_file_id).text))

mixed = client.files.create(file=io.BytesIO(content + b"{broken\n"), purpose="batch")
with_errors = finished(
    client.batches.create(input_file_id=mixed.id, endpoint="/v1/embeddings", completion_window="24h")
)
assert with_errors.request_counts.failed == 1
(error,) = map(json.loads, client.files.content(with_errors.error_file_id).text.splitlines())
assert error["error"]["line"] == len(TEXTS) + 1

empty = client.files.create(file=("empty.jsonl", b"{broken\n"), purpose="batch")
failed = finished(client.batches.create(input_file_id=empty.id, endpoint="/v1/embeddings", completion_window="24h"))
assert failed.status == "failed"
assert [it.line for it in failed.errors.data] == [None, 1]

many = client.files.create(file=("many.jsonl", lines_of(TEXTS * 2000)), purpose="batch")
running = client.batches.create(input_file_id=many.id, endpoint="/v1/embeddings", completion_window="24h")
assert client.batches.cancel(running.id).status in ("cancelling", "cancelled")
assert finished(running).status == "cancelled"

listed = [it.id for it in client.batches.list(limit=2)]  # reads all pages
assert listed[:4] == [running.id, failed.id, with_errors.id, batch.id]
files = [it.id for it in client.files.list(purpose="batch", limit=2)]
assert files[:4] == [many.id, empty.id, mixed.id, file.id]

deleted = client.files.delete(file.id)
assert (deleted.id, deleted.object, deleted.deleted) == (file.id, "file", True)
refusal(openai.NotFoundError, lambda: client.files.retrieve(file.id), file.id)
refusal(openai.NotFoundError, lambda: client.batches.retrieve("batch_none"), "batch_none")
refusal(
    openai.BadRequestError,
    lambda: client.batches.create(input_file_id=mixed.id, endpoint="/v1/completions", completion_window="24h"),
    "Available: ",
)
refusal(openai.BadRequestError, lambda: client.files.create(file=("a", b"x"), purpose="fine-tune"), "batch")


async def at_once():
    """Report the results of batches that run at the same time."""
    async with openai.AsyncOpenAI(base_url=f"{ADDRESS}/v1", api_key="EMPTY") as connected:
        uploads = [connected.files.create(file=(f"{number}.jsonl", content), purpose="batch") for number in range(4)]
        inputs = await asyncio.gather(*uploads)
        created = [
            connected.batches.create(input_file_id=it.id, endpoint="/v1/embeddings", completion_window="24h")
            for it in inputs
        ]
        for number, it in enumerate(await asyncio.gather(*created)):
            output = await connected.files.content((await asyncio.to_thread(finished, it)).output_file_id)
            vectors(f"batch {number} of four", TEXTS, embeddings(output.text))


asyncio.run(at_once())
end()
