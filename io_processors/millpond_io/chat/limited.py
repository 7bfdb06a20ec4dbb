"""A Jinja environment whose templates count what they take, for templates that the program does not trust.

Jinja's sandbox keeps a template from Python's own names, and from nothing else: loops of loops, or the format of a
number with a billion digits, take all the time and memory there is. Here every iteration, call, filter, operator and
literal is counted by the ``Meter`` of the rendering, what makes large values before it makes them. There are only
methods and filters whose cost is known.
"""

import re
from collections.abc import Callable, Iterator, Mapping
from functools import partial
from types import MappingProxyType
from typing import Any

from jinja2 import nodes, pass_context
from jinja2.runtime import Context
from jinja2.sandbox import ImmutableSandboxedEnvironment, SandboxedFormatter
from jinja2.utils import Cycler, Joiner, Namespace
from jinja2.visitor import NodeTransformer
from markupsafe import escape

from millpond_io.chat.meter import DEEPEST, ELEMENT, LimitReached, Meter
from millpond_io.chat.templates import FUNCTIONS, OPTIONS, to_json


def words(text: str) -> frozenset[str]:
    """Return the words of a text."""
    return frozenset(text.split())


METER = "meter!"  # among the variables; like the names of filters below, no template can write it
COUNT, MADE, JOINED, SLICED = "count!", "made!", "joined!", "sliced!"
LONGEST, LARGEST = 1000, 100_000  # of arguments: texts, and numbers
LONGEST_FORM = 10_000
WIDE = re.compile(r"%(\([^)]*\))?[-#0 +]*(\d{4}|\*|\d*\.(\d{4}|\*))")  # a conversion of "%" to a long text
WIDE_FIELD = re.compile(r"\d{4}")
TEXT_METHODS = words(
    "capitalize casefold count endswith find format index isalnum isalpha isascii isdecimal isdigit islower isnumeric "
    "isspace istitle isupper join lower lstrip partition removeprefix removesuffix replace rfind rindex rpartition "
    "rsplit rstrip split splitlines startswith strip swapcase title upper"
)
METHODS: Mapping[str, frozenset[str]] = MappingProxyType(
    {
        "str": TEXT_METHODS,
        "dict": words("copy get items keys values"),
        "list": words("copy count index"),
        "tuple": words("count index"),
        "LoopContext": words("changed cycle"),
        "Cycler": words("next reset"),
    }
)
OF_TEXTS = words(
    "abs capitalize e escape float format indent int lower replace round safe string tojson trim truncate upper"
)
OF_ELEMENTS = words(
    "dictsort groupby items join list map max min reject rejectattr reverse select selectattr sort sum title unique "
    "wordcount"
)
CHEAP = words("count d default first last length")  # what they return is there already, or a number
FILTERS = sorted(OF_TEXTS | OF_ELEMENTS | CHEAP)


class LimitedEnvironment(ImmutableSandboxedEnvironment):
    """The sandbox, counting; a template of it is rendered with a ``Meter`` as the variable ``METER``."""

    intercepted_binops = frozenset(ImmutableSandboxedEnvironment.default_binop_table)

    def __init__(self) -> None:
        super().__init__(**OPTIONS, optimized=False, finalize=_made)
        kept = {name: self.globals[name] for name in ("cycler", "dict", "joiner", "namespace", "range")}
        self.globals = {**kept, **FUNCTIONS}
        plain = self.overlay()
        escaped: Callable[[Any], str] = lambda value: str(escape(value))  # noqa: E731
        plain.filters = {**self.filters, "tojson": to_json, "safe": str, "e": escaped, "escape": escaped}
        counted = {name: _counted(plain, name) for name in FILTERS}
        self.filters = {**counted, COUNT: _count, MADE: _made, JOINED: _joined, SLICED: _sliced}

    def _parse(self, source: str, name: str | None, filename: str | None) -> nodes.Template:
        """Parse a template, and have it count."""
        parsed: nodes.Template = Counting().visit(super()._parse(source, name, filename))
        parsed.set_environment(self)
        return parsed

    def is_safe_attribute(self, obj: Any, attr: str, value: Any) -> bool:
        """Return whether a template may have it: data, and methods whose cost is known."""
        known = METHODS.get(type(obj).__name__, ())
        return super().is_safe_attribute(obj, attr, value) and (not callable(value) or attr in known)

    def wrap_str_format(self, value: Any) -> Callable[..., str] | None:
        """Return what stands for the method ``format`` of a text."""
        owner = getattr(value, "__self__", None)
        if not isinstance(owner, str) or getattr(value, "__name__", "") != "format":
            return None
        return partial(_fields_filled, self, str(owner))

    def call_binop(self, context: Context, operator: str, left: Any, right: Any) -> Any:
        """Compute an operator."""
        meter = _meter(context)
        if operator == "%" and isinstance(left, str):
            return _percent_filled(meter, left, right)
        both = (meter.weigh(left), meter.weigh(right))
        numbers = [each for each in (left, right) if isinstance(each, int | float)]
        if operator == "**" and right > LONGEST:
            raise LimitReached
        if len(numbers) == 2:  # noqa: PLR2004  of two operands
            meter.spend()
        elif numbers and operator == "*":
            meter.spend((max(both) - ELEMENT) * max(int(numbers[0]), 1))
        else:
            meter.spend(sum(both))
        found = super().call_binop(context, operator, left, right)
        meter.weigh(found)
        return found

    def call(__self, __context: Context, __obj: Any, *args: Any, **kwargs: Any) -> Any:  # noqa: N805, PYI063  as in Jinja
        """Call a function, macro or method, and count what it makes."""
        meter = _meter(__context)
        owner = getattr(__obj, "__self__", None)
        if isinstance(__obj, partial):
            __obj = partial(__obj, meter)
        elif isinstance(owner, str):
            meter.spend(_volume_of_method(meter, owner, __obj.__name__, [*args, *kwargs.values()]))
        elif any(__obj is known for known in (*FUNCTIONS.values(), dict, __self.globals["range"])):
            _check_arguments(meter, args)
        meter.spend()
        found = super().call(__context, __obj, *args, **kwargs)
        if not isinstance(found, Cycler | Joiner | Namespace):
            meter.made(found)
        return found


class Counting(NodeTransformer):
    """Puts counting filters into a parsed template."""

    def visit_For(self, node: nodes.For) -> nodes.For:  # noqa: N802  as in Jinja
        """Count each iteration, also those that a condition leaves out."""
        self._body(node)
        if node.test is not None:
            node.test = nodes.And(_filter(COUNT, nodes.Const(0)), node.test)
        return node

    def _body(self, node: Any) -> Any:
        """Count each pass through a body, with all text that it may write."""
        written = sum(len(data.data) for data in node.find_all(nodes.TemplateData))
        self.generic_visit(node)
        node.body.insert(0, nodes.ExprStmt(_filter(COUNT, nodes.Const(written)), lineno=node.lineno))
        return node

    visit_Macro = visit_CallBlock = _body  # noqa: N815

    def visit_Concat(self, node: nodes.Concat) -> nodes.Expr:  # noqa: N802
        """Join texts by a filter that counts them before."""
        self.generic_visit(node)
        return _filter(JOINED, nodes.List(node.nodes, lineno=node.lineno))

    def _literal(self, node: Any) -> nodes.Expr:
        """Count what a list, tuple or dict holds; the target of an assignment is none."""
        self.generic_visit(node)
        return node if getattr(node, "ctx", "load") != "load" else _filter(MADE, node)

    visit_List = visit_Dict = visit_Tuple = _literal  # noqa: N815

    def visit_Getitem(self, node: nodes.Getitem) -> nodes.Expr:  # noqa: N802
        """Count a part of a list or text."""
        self.generic_visit(node)
        return _filter(SLICED, node) if isinstance(node.arg, nodes.Slice) else _after_count(node)

    def _step(self, node: nodes.Expr) -> nodes.Expr:
        """Count what takes time and makes nothing large."""
        self.generic_visit(node)
        return _after_count(node)

    visit_Compare = visit_Test = _step  # noqa: N815


def _filter(name: str, value: nodes.Expr) -> nodes.Filter:
    return nodes.Filter(value, name, [], [], None, None, lineno=value.lineno)


def _after_count(node: nodes.Expr) -> nodes.Expr:
    return nodes.And(_filter(COUNT, nodes.Const(0)), node, lineno=node.lineno)


def _meter(context: Context) -> Meter:
    meter: Meter = context.parent[METER]
    return meter


@pass_context
def _count(context: Context, volume: int) -> bool:
    _meter(context).spend(volume)
    return True


@pass_context
def _made(context: Context, value: Any) -> Any:
    _meter(context).made(value)
    return value


@pass_context
def _joined(context: Context, values: list[Any]) -> str:
    _meter(context).made(values)
    return "".join(map(str, values))


@pass_context
def _sliced(context: Context, value: Any) -> Any:
    size = len(value) if isinstance(value, str | list | tuple) else 0
    _meter(context).spend(size if isinstance(value, str) else size * ELEMENT)
    return value


def _counted(plain: ImmutableSandboxedEnvironment, name: str) -> Callable[..., Any]:
    """Return a filter that counts what it is given and what it makes.

    Args:
        plain: The environment with the filter that does not count.
        name: Its name.
    """

    @pass_context
    def counted(context: Context, value: Any, *args: Any, **kwargs: Any) -> Any:
        meter = _meter(context)
        if name in CHEAP:
            meter.spend()
            return plain.call_filter(name, value, args, kwargs, context=context)
        if name == "format":
            return _percent_filled(meter, str(value), kwargs or args)
        meter.spend(_volume_of_filter(meter, name, value, [*args, *kwargs.values()]))
        found = plain.call_filter(name, value, args, kwargs, context=context)
        if isinstance(found, Iterator):
            found = [*meter.each(found)]
        meter.made(found)
        return found

    return counted


def _volume_of_filter(meter: Meter, name: str, value: Any, given: list[Any]) -> int:
    """Return what a filter makes beside its result, or an upper bound of its result where it may be large."""
    volume = meter.weigh(value)
    if name not in ("join", "replace"):
        _check_arguments(meter, given)
    if name == "replace":
        return _volume_of_method(meter, str(value), name, [str(each) for each in given])
    if name == "join":
        return len(value) * (ELEMENT + meter.weigh(given))
    if name in ("indent", "tojson") and given:
        lines = str(value).count("\n") + 1 if name == "indent" else volume // ELEMENT * DEEPEST
        return lines * (given[0] if isinstance(given[0], int) else len(str(given[0])))
    if name == "sum" and not all(isinstance(each, int | float | str) for each in given):
        raise LimitReached  # lists, end to end, take the square of their length
    if name not in OF_ELEMENTS:
        return 0
    looked_up = sum(len(each) for each in given if isinstance(each, str))  # "a.b,c" of every element
    return len(value) * (looked_up + (ELEMENT if isinstance(value, str) else 0))


def _volume_of_method(meter: Meter, owner: str, name: str, given: list[Any]) -> int:
    """Return an upper bound of what a method of a text makes."""
    volume = len(owner) + meter.weigh(given)
    if name == "join":
        return volume + len(owner) * (len(given[0]) if given else 0)
    if name == "replace":
        return volume + owner.count(given[0]) * len(given[1])
    _check_arguments(meter, given)
    if name in ("split", "rsplit"):
        separator = next((each for each in given if isinstance(each, str)), "")
        return volume + ELEMENT * (4 * owner.count(separator) if separator else len(owner))
    return volume + (ELEMENT * len(owner) if name == "splitlines" else 0)


def _check_arguments(meter: Meter, given: Any) -> None:
    """Refuse arguments with which an operation takes long."""
    for each in given:
        if (isinstance(each, str) and len(each) > LONGEST) or (isinstance(each, int) and abs(each) > LARGEST):
            raise LimitReached
    meter.weigh([*given])


def _percent_filled(meter: Meter, form: str, values: Any) -> str:
    """Return a text whose conversions by "%" are filled in."""
    if len(form) > LONGEST_FORM or WIDE.search(form):
        raise LimitReached
    meter.spend(len(form) + form.count("%") * meter.weigh(values))
    found: str = form % values
    meter.made(found)
    return found


def _fields_filled(environment: LimitedEnvironment, form: str, meter: Meter, /, *args: Any, **kwargs: Any) -> str:
    """Return a text whose fields in braces are filled in."""
    if len(form) > LONGEST_FORM:
        raise LimitReached
    meter.spend(len(form) + form.count("{") * meter.weigh([args, kwargs]))
    return LimitedFormatter(environment).vformat(form, args, kwargs)


class LimitedFormatter(SandboxedFormatter):
    """Fills in fields that are not wide."""

    def format_field(self, value: Any, format_spec: str) -> str:
        """Return the text of a field."""
        if WIDE_FIELD.search(format_spec):
            raise LimitReached
        found: str = super().format_field(value, format_spec)
        return found
