"""Hanging threads and crashed engines: health reports them, and the process still exits."""

import signal
import threading
import time

import httpx2
import pytest

PATIENCE = 60
PLUGIN = """
import time
from millpond.plugin.hookspecs import hookimpl
from millpond.plugin.specs import ArchitectureSpec, IOProcessorSpec, TextInput

@hookimpl
def register_io_processors():
    yield IOProcessorSpec(name="embed", target=f"{__name__}:Embed", tasks=("embed", "token_embed"))

@hookimpl
def register_architectures():
    yield ArchitectureSpec(
        name="BertModel", target=f"{__name__}:Bert", tasks=("embed", "token_embed"),
        text=TextInput(positions="absolute"),
    )

def __getattr__(name):
    if name == "Embed":
        from millpond_io.tasks.embed import EmbedProcessor

        class Embed(EmbedProcessor):
            def encode(self, call):
                if any("stone" in str(data) for data in call.prompts):
                    wait_for_ever()
                return super().encode(call)

            def decode(self, work):  # on the event loop, for it states that it is quick
                if len(work.sequences[0].input_ids) == 7:
                    wait_for_ever()
                return super().decode(work)

        return Embed
    if name == "Bert":
        from millpond_models.encoders.bert.model import BertModel
        from millpond.plugin.blame import blamed

        class Bert(BertModel):
            def forward(self, batch):
                if batch.num_tokens == 5:
                    blamed.__exit__ = lambda *_: None  # the error is one of the engine
                    raise KeyboardInterrupt
                if batch.num_tokens == 9:
                    time.sleep(600)
                return super().forward(batch)

        return Bert
    raise AttributeError(name)

def wait_for_ever():
    time.sleep(600)
"""
STONE = {"input": "old stone"}
SLOW = {"input": " ".join(["boat"] * 7)}  # 9 tokens
DEADLY = {"input": "a boat sea"}  # 5 tokens


@pytest.fixture
def stuck(folder, install_plugin, serving):
    path = str(install_plugin(PLUGIN, "stuck"))
    return lambda *arguments: serving(folder, "--served-model-name", "tiny", *arguments, env={"PYTHONPATH": path})


def leave(running, body):
    """Post a body, and disconnect before the response."""
    with running.client() as client, pytest.raises(httpx2.ReadTimeout):
        client.post("/v1/embeddings", json=body, timeout=0.5)


def until_health_is(status, running):
    with running.client() as client:
        end = time.monotonic() + PATIENCE
        while (response := client.get("/health")).status_code != status:
            assert time.monotonic() < end, f"{response.status_code} {response.text}"
            time.sleep(0.02)
    return response.json()["detail"]


@pytest.mark.slow
def test_a_hanging_io_processor_thread_is_reported_and_abandoned(stuck):
    with stuck("--drain-timeout", "1", "--hang-timeout", "0.5") as running:
        leave(running, STONE)
        assert "1 thread of its IO processors do not end" in until_health_is(503, running)
        with running.client() as client:
            assert client.post("/v1/embeddings", json={"input": "a boat"}).status_code == 200  # another thread does it
        running.process.send_signal(signal.SIGTERM)
        assert running.process.wait(PATIENCE) == 0
    response = "".join(running.lines)
    assert "an IO processor of tiny hangs: millpond-render" in response
    assert "hangs and is abandoned: it is in" in response
    assert "wait_for_ever" in response


@pytest.mark.slow
def test_an_event_loop_that_hangs_does_not_keep_the_process_from_ending(stuck):
    with stuck("--drain-timeout", "0.5") as running:
        leave(running, {"input": " ".join(["boat"] * 5)})  # 7 tokens
        running.process.send_signal(signal.SIGTERM)
        assert running.process.wait(PATIENCE) == 0
    response = "".join(running.lines)
    assert "its event loop hangs" in response
    assert "wait_for_ever" in response


@pytest.mark.slow
def test_a_crash_of_the_engine_while_another_batch_runs_ends_the_process(stuck):
    with stuck("--num-workers", "2", "--hang-timeout", "600") as running:
        leave(running, SLOW)
        began = time.monotonic()
        with running.client() as client:
            assert client.post("/v1/embeddings", json=DEADLY).status_code == 503
        assert "its engine crashed" in until_health_is(503, running)
        assert running.process.wait(PATIENCE) == 70
        assert time.monotonic() - began < 8  # 10 s were waited for the batch
    assert any("crashed with KeyboardInterrupt" in line for line in running.lines)


def test_busy_threads_are_distinguished_from_idle_ones():
    from concurrent.futures import ThreadPoolExecutor

    from millpond_server.runtime.ending import busy_threads, stack_of

    may_end, began = threading.Event(), threading.Event()

    def at_work():
        began.set()
        may_end.wait(PATIENCE)

    with ThreadPoolExecutor(2, thread_name_prefix="of-a-test") as pool:
        pool.submit(int).result()
        idle = {thread.name for thread in busy_threads()}
        done = pool.submit(at_work)
        began.wait(PATIENCE)
        (busy,) = (thread for thread in busy_threads() if thread.name.startswith("of-a-test"))
        assert "at_work" in stack_of(busy)
        may_end.set()
        done.result(PATIENCE)
    assert not any(name.startswith("of-a-test") for name in idle)
    assert stack_of(busy) == "it has ended"
