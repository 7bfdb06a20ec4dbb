"""Templates of strangers are rendered in a process that has little time, little memory, and nothing else."""

import contextlib
import threading
import time
from pathlib import Path

import pytest

from millpond.types.errors import EngineOverloadedError, InvalidInputError
from millpond.types.prompts import TemplateBudget
from millpond_io.chat.bounded import BoundedRenderer
from millpond_io.chat.templates import JinjaTemplate

MOST = 100_000
PATIENCE = 120  # seconds until a test that waits for something is given up
TALK = {"messages": [{"role": "user", "content": "a boat, 東京 😀"}], "add_generation_prompt": True}
LOOPS = "{% for a in range(99999) %}{% for b in range(99999) %}{% endfor %}{% endfor %}"
TOO_MUCH = [
    LOOPS,
    "{{ '%1000000000d' | format(1) }}",
    "{{ 'a' * 10**9 }}",
    "{{ ('a' * 10**8) | list | length }}",
    "{{ 9 ** (9 ** 9) }}",
]
WRONG = [
    ("{{ 'a' * 10**6 }}", "more than 100000 characters"),
    ("{{ ''.__class__.__mro__[1].__subclasses__() }}", "SecurityError"),
    ("{{ cycler.__init__.__globals__.os.popen('id').read() }}", "SecurityError"),
    ("{{ messages.append(1) }}", "SecurityError"),
    ("{% include '/etc/passwd' %}", "no loader"),
    ("{{ " + "(" * 100_000, "not valid Jinja"),
    ("{{ 'a' ", "not valid Jinja"),
    ("{{ raise_exception(messages[0].get) }}", "method get of dict object>"),
    ("a" * 1_000_001, "it may have 1000000"),
]


@pytest.fixture(scope="module")
def renderer():
    renderer = BoundedRenderer()
    yield renderer
    renderer.close()


def render(renderer, source, seconds=0.3):
    return renderer.render(source, TALK, MOST, TemplateBudget(seconds))


@pytest.mark.parametrize(
    "source",
    [
        "{% for m in messages %}<{{ m.role }}>{{ m.content | upper }}{% endfor %}",
        "{{ messages | tojson }}{% if add_generation_prompt %}assistant{% endif %}",
        "{% set ns = namespace(n=0) %}{% for i in range(9) %}{% set ns.n = ns.n + i %}{% endfor %}{{ ns.n }}",
    ],
)
def test_what_is_harmless_is_rendered_as_it_is_here(renderer, source):
    assert render(renderer, source) == JinjaTemplate(source).render(TALK, MOST)


@pytest.mark.parametrize("source", TOO_MUCH)
def test_what_takes_too_much_is_ended_and_the_next_one_is_rendered(renderer, source):
    budget = TemplateBudget(0.3)
    began = time.monotonic()
    with pytest.raises(InvalidInputError, match="takes more time or memory") as told:
        renderer.render(source, TALK, MOST, budget)
    assert time.monotonic() - began < 60
    assert told.value.parameter == "chat_template"
    assert budget.seconds == 0
    with pytest.raises(InvalidInputError, match="takes more time than"):
        renderer.render("{{ 1 }}", TALK, MOST, budget)
    assert render(renderer, "{{ 1 + 1 }}") == "2"


@pytest.mark.parametrize(("source", "why"), WRONG)
def test_what_fails_is_told_and_names_nothing_of_the_process(renderer, source, why):
    with pytest.raises(InvalidInputError, match=why) as told:
        render(renderer, source)
    assert " at 0x" not in str(told.value)
    assert len(str(told.value)) <= 300


def test_prompts_of_one_request_share_the_time(renderer):
    budget = TemplateBudget(5.0)
    source = "{% for a in range(300) %}{% for b in range(300) %}{% endfor %}{% endfor %}{{ 1 }}"
    for _ in range(3):
        before = budget.seconds
        assert renderer.render(source, TALK, MOST, budget) == "1"
        assert budget.seconds < before


def test_variables_that_json_cannot_hold_are_told(renderer):
    with pytest.raises(InvalidInputError, match="what JSON can hold") as told:
        renderer.render("{{ a }}", {"a": object()}, MOST, TemplateBudget())
    assert told.value.parameter == "chat_template_kwargs"
    assert render(renderer, "{{ 2 }}") == "2"


def test_who_comes_while_another_takes_its_time_is_told_to_come_again(renderer, monkeypatch):
    render(renderer, "{{ 1 }}")
    came, begun, may_go = [], threading.Event(), threading.Event()
    ask = renderer._ask  # noqa: SLF001  it takes as long as the test wants

    def held(*arguments):
        begun.set()
        assert may_go.wait(PATIENCE)
        return ask(*arguments)

    def hostile():
        try:
            render(renderer, LOOPS)
        except InvalidInputError as error:
            came.append(error)

    monkeypatch.setattr(renderer, "_ask", held)
    first = threading.Thread(target=hostile)
    first.start()
    assert begun.wait(PATIENCE)
    with pytest.raises(EngineOverloadedError, match="try again later"):
        render(renderer, "{{ 1 }}")
    may_go.set()
    first.join()
    assert len(came) == 1
    assert render(renderer, "{{ 1 }}") == "1"


def children():
    found = set()
    for task in Path("/proc/self/task").iterdir():
        with contextlib.suppress(FileNotFoundError, ProcessLookupError):  # a thread that has ended meanwhile
            found |= {int(pid) for pid in (task / "children").read_text().split()}
    return found


@pytest.mark.skipif(not Path("/proc/self/task").exists(), reason="only Linux tells of processes in this way")
def test_the_process_has_no_secrets_no_files_and_little_memory(monkeypatch, request):
    monkeypatch.setenv("MILLPOND_API_KEY", "a secret")
    before = children()
    renderer = BoundedRenderer()
    request.addfinalizer(renderer.close)
    render(renderer, "{{ 1 }}")
    (pid,) = children() - before
    process = Path(f"/proc/{pid}")
    assert b"secret" not in (process / "environ").read_bytes()
    limits = {line[:26].strip(): line[26:].split()[0] for line in (process / "limits").read_text().splitlines()[1:]}
    assert (limits["Max open files"], limits["Max file size"], limits["Max core file size"]) == ("3", "0", "0")
    assert int(limits["Max address space"]) < 2**30
    assert (process / "cwd").readlink() == Path("/")
    renderer.close()
    assert not process.exists()
