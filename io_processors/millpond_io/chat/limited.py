"""A Jinja environment with limits on time and memory, for untrusted templates.

Jinja's sandbox only restricts access to Python objects: nested loops, or a number formatted with a billion digits, can
use any amount of time and memory. In this environment, the ``Meter`` of the rendering counts every iteration, call,
filter, operator and literal; operations that create large values are counted before they run. Only methods and filters
with a known cost are available.
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

from millpond_io.chat.functions import FUNCTIONS, OPTIONS, to_json
from millpond_io.chat.meter import ELEMENT_SIZE, MAX_DEPTH, LimitReached, Meter


def words(text: str) -> frozenset[str]:
    """Return the words of a text."""
    return frozenset(text.split())


# Names of a variable and of filters that templates cannot use, because they are not valid identifiers.
METER = "meter!"
COUNT, COUNT_VALUE, JOIN, SLICE = "count!", "count_value!", "join!", "slice!"
MAX_ARGUMENT_CHARS = 1000
MAX_ARGUMENT = 100_000
MAX_EXPONENT = 1000
MAX_FORMAT_CHARS = 10_000
WIDE_CONVERSION = re.compile(r"%(\([^)]*\))?[-#0 +]*(\d{4}|\*|\d*\.(\d{4}|\*))")  # "%" with a large width or precision
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
TEXT_FILTERS = words(
    "abs capitalize e escape float format indent int lower replace round safe string tojson trim truncate upper"
)
SEQUENCE_FILTERS = words(
    "dictsort groupby items join list map max min reject rejectattr reverse select selectattr sort sum title unique "
    "wordcount"
)
CHEAP_FILTERS = words("count d default first last length")  # return an existing value, or a number
FILTERS = sorted(TEXT_FILTERS | SEQUENCE_FILTERS | CHEAP_FILTERS)


class LimitedEnvironment(ImmutableSandboxedEnvironment):
    """The sandbox with limits. Templates are rendered with a ``Meter`` as the variable ``METER``."""

    intercepted_binops = frozenset(ImmutableSandboxedEnvironment.default_binop_table)

    def __init__(self) -> None:
        super().__init__(**OPTIONS, optimized=False, finalize=_count_value)
        functions = {name: self.globals[name] for name in ("cycler", "dict", "joiner", "namespace", "range")}
        self.globals = {**functions, **FUNCTIONS}
        uncounted = self.overlay()
        escaped: Callable[[Any], str] = lambda value: str(escape(value))  # noqa: E731
        uncounted.filters = {**self.filters, "tojson": to_json, "safe": str, "e": escaped, "escape": escaped}
        counted = {name: _counted_filter(uncounted, name) for name in FILTERS}
        self.filters = {**counted, COUNT: _count, COUNT_VALUE: _count_value, JOIN: _join, SLICE: _slice}

    def _parse(self, source: str, name: str | None, filename: str | None) -> nodes.Template:
        """Parse a template and insert the counting filters."""
        parsed: nodes.Template = CountingTransformer().visit(super()._parse(source, name, filename))
        parsed.set_environment(self)
        return parsed

    def is_safe_attribute(self, obj: Any, attr: str, value: Any) -> bool:
        """Return True for data, and for methods with a known cost."""
        methods = METHODS.get(type(obj).__name__, ())
        return super().is_safe_attribute(obj, attr, value) and (not callable(value) or attr in methods)

    def wrap_str_format(self, value: Any) -> Callable[..., str] | None:
        """Return the replacement of the method ``format`` of a text; None for other methods."""
        owner = getattr(value, "__self__", None)
        if not isinstance(owner, str) or getattr(value, "__name__", "") != "format":
            return None
        return partial(_format_braces, self, str(owner))

    def call_binop(self, context: Context, operator: str, left: Any, right: Any) -> Any:
        """Evaluate a binary operator."""
        meter = _meter(context)
        if operator == "%" and isinstance(left, str):
            return _format_percent(meter, left, right)
        sizes = (meter.size_of(left), meter.size_of(right))
        numbers = [operand for operand in (left, right) if isinstance(operand, int | float)]
        if operator == "**" and right > MAX_EXPONENT:
            raise LimitReached
        if len(numbers) == 2:  # noqa: PLR2004  both operands
            meter.spend()
        elif numbers and operator == "*":
            meter.spend((max(sizes) - ELEMENT_SIZE) * max(int(numbers[0]), 1))
        else:
            meter.spend(sum(sizes))
        result = super().call_binop(context, operator, left, right)
        meter.size_of(result)
        return result

    def call(__self, __context: Context, __obj: Any, *args: Any, **kwargs: Any) -> Any:  # noqa: N805, PYI063  as in Jinja
        """Call a function, macro or method, and count its result."""
        meter = _meter(__context)
        owner = getattr(__obj, "__self__", None)
        if isinstance(__obj, partial):
            __obj = partial(__obj, meter)
        elif isinstance(owner, str):
            meter.spend(_size_of_method(meter, owner, __obj.__name__, [*args, *kwargs.values()]))
        elif any(__obj is function for function in (*FUNCTIONS.values(), dict, __self.globals["range"])):
            _check_arguments(meter, args)
        meter.spend()
        result = super().call(__context, __obj, *args, **kwargs)
        if not isinstance(result, Cycler | Joiner | Namespace):
            meter.count_value(result)
        return result


class CountingTransformer(NodeTransformer):
    """Inserts counting filters into a parsed template."""

    def visit_For(self, node: nodes.For) -> nodes.For:  # noqa: N802  as in Jinja
        """Count each iteration, including those that the condition of the loop skips."""
        self._body(node)
        if node.test is not None:
            node.test = nodes.And(_filter(COUNT, nodes.Const(0)), node.test)
        return node

    def _body(self, node: Any) -> Any:
        """Count each execution of a body, with all text that it may write."""
        num_chars = sum(len(data.data) for data in node.find_all(nodes.TemplateData))
        self.generic_visit(node)
        node.body.insert(0, nodes.ExprStmt(_filter(COUNT, nodes.Const(num_chars)), lineno=node.lineno))
        return node

    visit_Macro = visit_CallBlock = _body  # noqa: N815

    def visit_Concat(self, node: nodes.Concat) -> nodes.Expr:  # noqa: N802
        """Join texts by a filter that counts them first."""
        self.generic_visit(node)
        return _filter(JOIN, nodes.List(node.nodes, lineno=node.lineno))

    def _literal(self, node: Any) -> nodes.Expr:
        """Count the elements of a list, tuple or dict, unless it is the target of an assignment."""
        self.generic_visit(node)
        return node if getattr(node, "ctx", "load") != "load" else _filter(COUNT_VALUE, node)

    visit_List = visit_Dict = visit_Tuple = _literal  # noqa: N815

    def visit_Getitem(self, node: nodes.Getitem) -> nodes.Expr:  # noqa: N802
        """Count an element or a slice of a list or text."""
        self.generic_visit(node)
        return _filter(SLICE, node) if isinstance(node.arg, nodes.Slice) else _after_count(node)

    def _step(self, node: nodes.Expr) -> nodes.Expr:
        """Count an expression that takes time but creates no large value."""
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
def _count(context: Context, size: int) -> bool:
    _meter(context).spend(size)
    return True


@pass_context
def _count_value(context: Context, value: Any) -> Any:
    _meter(context).count_value(value)
    return value


@pass_context
def _join(context: Context, values: list[Any]) -> str:
    _meter(context).count_value(values)
    return "".join(map(str, values))


@pass_context
def _slice(context: Context, value: Any) -> Any:
    length = len(value) if isinstance(value, str | list | tuple) else 0
    _meter(context).spend(length if isinstance(value, str) else length * ELEMENT_SIZE)
    return value


def _counted_filter(uncounted: ImmutableSandboxedEnvironment, name: str) -> Callable[..., Any]:
    """Return a filter that counts its arguments and its result.

    Args:
        uncounted: The environment with the filter that does not count.
        name: The name of the filter.
    """

    @pass_context
    def counted(context: Context, value: Any, *args: Any, **kwargs: Any) -> Any:
        meter = _meter(context)
        if name in CHEAP_FILTERS:
            meter.spend()
            return uncounted.call_filter(name, value, args, kwargs, context=context)
        if name == "format":
            return _format_percent(meter, str(value), kwargs or args)
        meter.spend(_size_of_filter(meter, name, value, [*args, *kwargs.values()]))
        result = uncounted.call_filter(name, value, args, kwargs, context=context)
        if isinstance(result, Iterator):
            result = [*meter.count_each(result)]
        meter.count_value(result)
        return result

    return counted


def _size_of_filter(meter: Meter, name: str, value: Any, arguments: list[Any]) -> int:
    """Return the size of a filter's intermediate values, or an upper bound of its result if that may be large."""
    size = meter.size_of(value)
    if name not in ("join", "replace"):
        _check_arguments(meter, arguments)
    if name == "replace":
        return _size_of_method(meter, str(value), name, [str(argument) for argument in arguments])
    if name == "join":
        return len(value) * (ELEMENT_SIZE + meter.size_of(arguments))
    if name in ("indent", "tojson") and arguments:
        num_lines = str(value).count("\n") + 1 if name == "indent" else size // ELEMENT_SIZE * MAX_DEPTH
        return num_lines * (arguments[0] if isinstance(arguments[0], int) else len(str(arguments[0])))
    if name == "sum" and not all(isinstance(argument, int | float | str) for argument in arguments):
        raise LimitReached  # the time to concatenate lists grows with the square of their number
    if name not in SEQUENCE_FILTERS:
        return 0
    attribute_chars = sum(len(argument) for argument in arguments if isinstance(argument, str))  # "a.b,c" per element
    return len(value) * (attribute_chars + (ELEMENT_SIZE if isinstance(value, str) else 0))


def _size_of_method(meter: Meter, owner: str, name: str, arguments: list[Any]) -> int:
    """Return an upper bound of the size of the values that a text method creates."""
    size = len(owner) + meter.size_of(arguments)
    if name == "join":
        return size + len(owner) * (len(arguments[0]) if arguments else 0)
    if name == "replace":
        return size + owner.count(arguments[0]) * len(arguments[1])
    _check_arguments(meter, arguments)
    if name in ("split", "rsplit"):
        separator = next((argument for argument in arguments if isinstance(argument, str)), "")
        return size + ELEMENT_SIZE * (4 * owner.count(separator) if separator else len(owner))
    return size + (ELEMENT_SIZE * len(owner) if name == "splitlines" else 0)


def _check_arguments(meter: Meter, arguments: Any) -> None:
    """Raise an error for arguments that could make an operation slow."""
    for argument in arguments:
        is_long = isinstance(argument, str) and len(argument) > MAX_ARGUMENT_CHARS
        if is_long or (isinstance(argument, int) and abs(argument) > MAX_ARGUMENT):
            raise LimitReached
    meter.size_of([*arguments])


def _format_percent(meter: Meter, template: str, values: Any) -> str:
    """Return a text with its "%" conversions replaced."""
    if len(template) > MAX_FORMAT_CHARS or WIDE_CONVERSION.search(template):
        raise LimitReached
    meter.spend(len(template) + template.count("%") * meter.size_of(values))
    text: str = template % values
    meter.count_value(text)
    return text


def _format_braces(environment: LimitedEnvironment, template: str, meter: Meter, /, *args: Any, **kwargs: Any) -> str:
    """Return a text with its fields in braces replaced."""
    if len(template) > MAX_FORMAT_CHARS:
        raise LimitReached
    meter.spend(len(template) + template.count("{") * meter.size_of([args, kwargs]))
    return LimitedFormatter(environment).vformat(template, args, kwargs)


class LimitedFormatter(SandboxedFormatter):
    """Replaces fields, except those with a large width."""

    def format_field(self, value: Any, format_spec: str) -> str:
        """Return the text of a field."""
        if WIDE_FIELD.search(format_spec):
            raise LimitReached
        text: str = super().format_field(value, format_spec)
        return text
