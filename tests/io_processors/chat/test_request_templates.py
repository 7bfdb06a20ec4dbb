"""Templates in requests are rendered like those of the model, within limits of time, memory and names."""

import threading
import tracemalloc
from time import process_time, thread_time

import pytest
from jinja2.sandbox import ImmutableSandboxedEnvironment

from millpond import LLM
from millpond.testing import checkpoints
from millpond.types.errors import EngineOverloadedError, InvalidInputError
from millpond.types.prompts import TemplateBudget
from millpond_io.chat import request_templates
from millpond_io.chat.functions import FUNCTIONS, OPTIONS, to_json
from millpond_io.chat.meter import Meter
from millpond_io.chat.request_templates import render_request_template
from millpond_io.chat.templates import JinjaTemplate

MAX_CHARS = 100_000
TALK = {"messages": [{"role": "user", "content": "a boat, 東京 😀"}], "add_generation_prompt": True}
HARMLESS = [
    "{% for m in messages %}<{{ m.role }}>{{ m.content | upper }}{% endfor %}",
    "{{ messages | tojson }}{% if add_generation_prompt %}assistant{% endif %}{{ messages | tojson(indent=2) }}",
    "{% set ns = namespace(n=0) %}{% for i in range(9) %}{% set ns.n = ns.n + i %}{% endfor %}{{ ns.n }}",
    "{% macro f(x, y=2) %}{{ x ~ y }}{{ caller() if caller }}{% endmacro %}{{ f(1) }}{% call f(2) %}<{% endcall %}",
    "{% for a in [1, [2, [3]]] recursive %}{{ loop(a) if a is iterable else a }}{{ ',' if not loop.last }}{% endfor %}",
    "{% for m in messages if m.role == 'user' %}{{ loop.length }}{% continue %}{% else %}none{% endfor %}",
    "{{ messages[::-1][0]['content'][:3] }}{{ 'a,b'.split(',')[-1] }}{{ ' x ' | trim }}{{ {'a': 1}.items() | list }}",
    "{{ 'a{}b{:>5}'.format(1, 'x') }}{{ '%s-%05d' % ('q', 3) }}{{ '%s' | format(3) }}",
    "{{ messages | map(attribute='role') | join(', ') }}{{ messages | selectattr('role', 'equalto', 'user') | list }}",
    "{% set x %}a {{ 1 }}{% endset %}{{ x | indent(4, true) }}{{ (1, 2)[0] }}{{ none }}{{ missing }}{{ 'x' in 'xy' }}",
    "{{ 7 // 2 }}{{ 2 ** 10 }}{{ 7 % 4 }}{{ -1 | abs }}{{ ['a'] + ['b'] }}{{ 'ab' * 3 }}{{ [1] * 2 }}{{ 'a' < 'b' }}",
    "{{ messages[0].get('no', 'd') }}{{ 'a'.startswith(('a', 'b')) }}{{ cycler(1, 2).next() }}{{ '<' | e }}",
    "{% for k, v in {'a': 1}.items() %}{{ k }}{{ v }}{% endfor %}{% filter upper %}abc{% endfilter %}{{ 'a' | safe }}",
]
NESTED = "{% set ns = namespace(a=[1]) %}{% for i in range(60) %}{% set ns.a = [ns.a, ns.a] %}{% endfor %}{{ ns.a }}"
GROWING = "{%% set ns = namespace(a='aa') %%}{%% for i in range(60) %%}{%% set ns.a = %s %%}{%% endfor %%}"
LONG_LIST = "{% set l = range(99999) | list %}"
TOO_MUCH = [
    "{% for a in range(99999) %}{% for b in range(99999) %}{% endfor %}{% endfor %}",
    "{% for a in range(99999) %}{% for b in range(99999) if b < 0 %}{% endfor %}{% endfor %}",
    "{% macro f(n) %}{% if n %}{{ f(n - 1) }}{{ f(n - 1) }}{% endif %}{% endmacro %}{{ f(30) }}",
    "{{ '%1000000000d' | format(1) }}",
    "{{ '%1000000000d' % 1 }}",
    "{{ '%.*f' % (1000000000, 1) }}",
    "{{ '{:1000000000}'.format(1) }}",
    "{{ '{:{}}'.format(1, 1000000000) }}",
    "{{ ('{0}' * 3000).format('a' * 100000) }}",
    "{{ '%s%s' | format('a' * 1500000, 'b' * 1500000) }}",
    "{{ 'a' * 10**9 }}",
    "{{ ('a' * 10**8) | list | length }}",
    "{{ 9 ** (9 ** 9) }}",
    "{{ 1.5 | round(10**9) }}",
    "{{ 'a' | indent(10**9, true) }}",
    "{{ ','.join(['a' * 1000] * 90000) }}",
    "{{ ('a' * 1000) | replace('a', 'b' * 100000) }}",
    "{{ ('a' * 1000).replace('a', 'b' * 100000) }}",
    "{{ [0] | map('default', 'x' * 900000, true) | list * 900 }}",
    "{{ ([[1]] * 9000) | sum(start=[]) }}",
    "{{ [[1, [2] * 1000]] | tojson(indent=90000) }}",
    "{{ ('a' * 1000000).rfind('ab' + 'a' * 400000) }}",
    "{{ ('a' * 1000000).strip('a' * 1000000) }}",
    NESTED,
    NESTED.replace("{{ ns.a }}", "{{ ns.a == ns.a }}"),
    NESTED.replace("[ns.a, ns.a]", "{'a': ns.a, 'b': ns.a}"),
    GROWING % "ns.a ~ ns.a",
    GROWING % "ns.a + ns.a",
    GROWING % "ns.a * 2",
    GROWING % "ns.a | replace('a', 'aaaa')",
    "{% set ns = namespace(a=()) %}{% for i in range(9999) %}{% set ns.a = (ns.a,) %}{% endfor %}{{ {ns.a: 1} }}",
    "{% set ns = namespace(a=7) %}{% for i in range(9999) %}{% set ns.a = ns.a * ns.a %}{% endfor %}",
    "{% set x %}{% for i in range(99999) %}" + "y" * 30_000 + "{% endfor %}{% endset %}",
    "{% macro f() %}"
    + "y" * 30_000
    + "{% endmacro %}{% set x %}{% for i in range(99999) %}{{ f() }}{% endfor %}{% endset %}",
    LONG_LIST + "{% if 'x' in l %}{% endif %}" * 1000,
    LONG_LIST + "{% set x = l[:] %}" * 1000,
    LONG_LIST + "{{ l | unique | length }}" * 100,
    LONG_LIST + "{{ l | sort(attribute='" + "a," * 400 + "a') }}",
]
WRONG = [
    ("{{ 'a' * 10**6 }}", "more than the maximum of 100000 characters"),
    ("{{ ''.__class__.__mro__[1].__subclasses__() }}", "SecurityError"),
    ("{{ cycler.__init__.__globals__.os.popen('id').read() }}", "SecurityError"),
    ("{{ messages.append(1) }}", "SecurityError"),
    ("{{ '{0.__class__.__mro__}'.format(1) }}", "SecurityError"),
    ("{{ 'a'.center(9) }}", "SecurityError"),
    ("{{ (1).to_bytes(9, 'big') }}", "SecurityError"),
    ("{{ dict.fromkeys([1]) }}", "SecurityError"),
    ("{{ 'a' | center(9) }}", "No filter named 'center'.*Available: abs, capitalize"),
    ("{{ messages | map('attr', '__class__') | list }}", "No filter named 'attr'"),
    ("{{ messages | map('made!') | map('count!') | list }}", "fails"),
    ("{% include '/etc/passwd' %}", "no loader"),
    ("{{ " + "(" * 30_000, "not valid Jinja"),
    ("{{ " + "1+" * 15_000 + "1 }}", "not valid Jinja"),
    ("{% for a in b %}" * 40 + "{% endfor %}" * 40, "not valid Jinja: SyntaxError"),
    ("{{ 'a' ", "not valid Jinja"),
    ("{{ raise_exception(messages[0].get) }}", "expected texts, numbers, lists and dicts"),
    ("{{ namespace(a=1) }}", "expected texts, numbers, lists and dicts"),
    ("{% macro f(n) %}{{ f(n) }}{% endmacro %}{{ f(1) }}", "RecursionError"),
    ("a" * 32_769, "the maximum for requests is 32768"),
]


def render(source, seconds=0.3, max_chars=MAX_CHARS):
    return render_request_template(source, TALK, max_chars, TemplateBudget(seconds))


@pytest.mark.parametrize("source", HARMLESS)
def test_limits_do_not_change_the_text_of_a_harmless_template(source):
    unlimited = ImmutableSandboxedEnvironment(**OPTIONS)
    unlimited.filters["tojson"] = to_json
    unlimited.globals.update(FUNCTIONS)
    assert render(source, seconds=5) == unlimited.from_string(source).render(TALK)


@pytest.mark.parametrize("source", TOO_MUCH)
def test_the_template_of_a_checkpoint_has_the_same_limits(source):
    began = thread_time()
    with pytest.raises(InvalidInputError, match="exceeds the time or memory limit"):
        JinjaTemplate(source).render(TALK, MAX_CHARS, seconds=0.3)
    assert thread_time() - began < 3


def test_a_template_of_a_checkpoint_that_never_ends_is_an_error(tmp_path):
    folder = checkpoints.tiny("Qwen2ForCausalLM", tmp_path / "model")
    loops = "{% for a in range(99999) %}{% for b in range(99999) %}{% endfor %}{% endfor %}"
    (folder / "chat_template.jinja").write_text(loops, encoding="utf-8")
    with LLM(str(folder), num_workers=1, runner="pooling", convert="embed") as llm:
        began = process_time()
        with pytest.raises(InvalidInputError, match="exceeds the time or memory limit"):
            llm.embed({"messages": [{"role": "user", "content": "a cup of tea"}]})
        assert process_time() - began < 3


def test_a_huge_template_of_a_checkpoint_is_refused():
    with pytest.raises(InvalidInputError, match="the maximum is 131072"):
        JinjaTemplate("a" * 131_073)


@pytest.mark.parametrize("source", TOO_MUCH)
def test_a_template_that_takes_too_much_is_ended(source):
    budget = TemplateBudget(0.3)
    began = thread_time()
    with pytest.raises(InvalidInputError, match="exceeds the time or memory limit") as caught:
        render_request_template(source, TALK, MAX_CHARS, budget)
    assert thread_time() - began < 3
    assert caught.value.parameter == "chat_template"
    assert budget.seconds == 0
    with pytest.raises(InvalidInputError, match="exceeds the time limit"):
        render_request_template("{{ 1 }}", TALK, MAX_CHARS, budget)
    assert render("{{ 1 + 1 }}") == "2"


def test_a_template_takes_a_bounded_amount_of_memory():
    tracemalloc.start()
    try:
        with pytest.raises(InvalidInputError):
            render(
                "{% set n = namespace(a=[]) %}{% for i in range(9999) %}{% set n.a = [n.a, '😀' * 9000] %}{% endfor %}",
                60,
            )
        assert tracemalloc.get_traced_memory()[1] < 2**26
    finally:
        tracemalloc.stop()


@pytest.mark.parametrize(("source", "why"), WRONG)
def test_an_error_names_its_reason_and_no_address(source, why):
    with pytest.raises(InvalidInputError, match=why) as caught:
        render(source, seconds=5)
    assert " at 0x" not in str(caught.value)
    assert len(str(caught.value)) <= 1000


def test_prompts_of_one_request_share_the_time():
    budget = TemplateBudget(60.0)
    source = "{% for a in range(30) %}{% for b in range(30) %}{% endfor %}{% endfor %}{{ 1 }}"
    for _ in range(3):
        before = budget.seconds
        assert render_request_template(source, TALK, MAX_CHARS, budget) == "1"
        assert budget.seconds < before


def test_variables_that_json_cannot_hold_are_refused():
    with pytest.raises(InvalidInputError, match="must be JSON values") as caught:
        render_request_template("{{ a }}", {"a": object()}, MAX_CHARS, TemplateBudget())
    assert caught.value.parameter == "chat_template_kwargs"


def test_variables_much_longer_than_the_text_may_be_are_refused():
    with pytest.raises(InvalidInputError, match="exceeds the time or memory limit"):
        render_request_template("{{ 1 }}", {"a": "a" * 5_000_000}, MAX_CHARS, TemplateBudget())


def test_a_second_template_waits_briefly_and_is_then_refused_with_retry_after():
    held, done = threading.Event(), threading.Event()

    def hold():
        with request_templates.render_lock:
            held.set()
            done.wait(60)

    other = threading.Thread(target=hold)
    other.start()
    assert held.wait(60)
    with pytest.raises(EngineOverloadedError, match="try again later"):
        render("{{ 1 }}")
    done.set()
    other.join()
    assert render("{{ 1 }}") == "1"


def test_the_cost_of_the_length_of_a_list_does_not_depend_on_its_items(monkeypatch):
    counted, size_of = [], Meter.size_of
    monkeypatch.setattr(Meter, "size_of", lambda self, value: counted.append(value) or size_of(self, value))
    messages = [{"role": "user", "content": "a"}] * 9
    source = (
        "{% for m in messages %}{{ messages | length }}{{ (messages | last).role }}{{ m | default(0) }}{% endfor %}"
    )
    render_request_template(source, {"messages": messages}, MAX_CHARS, TemplateBudget(5))
    assert not any(value is messages for value in counted)
