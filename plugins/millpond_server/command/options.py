"""Options of ``millpond serve``: options of the models, and those declared in ``Settings`` and ``Limits``."""

from collections.abc import Callable
from dataclasses import dataclass, fields
from typing import Annotated, Any, Literal, TypeVar, get_args, get_origin, get_type_hints

from typer.models import OptionInfo

from millpond_command.declare import option
from millpond_command.model_options import ServeOptions
from millpond_server.runtime.settings import Limits, Settings

T = TypeVar("T")


def declared_options(settings: type) -> dict[str, OptionInfo]:
    """Return the options that are declared on the fields of a settings class, by field name."""
    hints = get_type_hints(settings, include_extras=True).items()
    return {
        name: item for name, hint in hints for item in getattr(hint, "__metadata__", ()) if isinstance(item, OptionInfo)
    }


def option_name(option: OptionInfo) -> str:
    """Return the first name of an option, which typer keeps in ``default`` until it builds the command."""
    return next(name for name in (option.default, *(option.param_decls or ())) if isinstance(name, str))


def options_of(settings: Any) -> Callable[[type[T]], type[T]]:
    """Make a dataclass of a class: the options declared on a settings class, then the class's own fields."""

    def decorate(cls: type[T]) -> type[T]:
        options, types = declared_options(settings), get_type_hints(settings)
        other_fields = vars(cls).get("__annotations__", {})
        cls.__annotations__ = {
            name: Annotated[_option_type(types[name]), option] for name, option in options.items()
        } | other_fields
        for field in fields(settings):
            if field.name in options:
                setattr(cls, field.name, None if field.default == () else field.default)
        return dataclass(frozen=True, kw_only=True)(cls)

    return decorate


def _option_type(field_type: Any) -> Any:
    """Return the type that typer converts an option to, for the type of a field."""
    if get_origin(field_type) is tuple:
        return list[str] | None
    if get_origin(field_type) is Literal:
        return type(get_args(field_type)[0])
    return field_type


@dataclass(frozen=True, kw_only=True)
class ModelOptions(ServeOptions):
    """The options of the models, which are arguments of ``AsyncLLM``, and two spellings of vLLM's command line."""

    task: Annotated[
        str | None,
        option("Model", "--task", metavar="TASK", help="Old spelling of --convert: embed, score ..."),
    ] = None
    attention_backend: Annotated[
        str | None,
        option("Computing", "--attention-backend", metavar="NAME", help="Same as --kernel attention=NAME."),
    ] = None


@options_of(Settings)
class ServerOptions:
    """The options declared on ``Settings``, and those that are not settings."""

    served_model_name: Annotated[
        list[str] | None,
        option(
            "Server",
            "--served-model-name",
            metavar="NAME",
            help="Name of the model in requests; several names for one model, or one name for each of several models.",
        ),
    ] = None
    trust_request_chat_template: Annotated[
        bool,
        option(
            "Access",
            "--trust-request-chat-template",
            help="Render chat templates sent in requests, with limits on time and memory.",
        ),
    ] = False


@options_of(Limits)
class LimitOptions:
    """The options declared on ``Limits``."""
