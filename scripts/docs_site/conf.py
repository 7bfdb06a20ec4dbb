"""The settings of Sphinx for the documentation site. `build_site.py` runs it on staged pages."""

from importlib import import_module
from operator import attrgetter
from pathlib import Path
from typing import Any

from sphinx.application import Sphinx
from sphinx.domains.python import PyObject

import millpond

FOLDER = Path(__file__).resolve().parent
LOGO = FOLDER.parents[1] / "plugins" / "millpond_playground" / "static" / "icon.svg"  # the same as on the playground

project = "Millpond"
author = "The Millpond authors"
version = release = millpond.__version__
language = "en"

extensions = [
    "myst_parser",
    "sphinx.ext.autodoc",
    "sphinx.ext.napoleon",
    "sphinx.ext.viewcode",
    "sphinx_copybutton",
]

# --- pages: the Markdown of GitHub ------------------------------------------------------------------------------------

myst_enable_extensions = ["html_image"]
myst_heading_anchors = 4  # links to headings use GitHub's names
myst_links_external_new_tab = False
copybutton_prompt_text = "$ "
copybutton_only_copy_prompt_lines = True

# --- API reference ----------------------------------------------------------------------------------------------------

autodoc_member_order = "bysource"
autodoc_typehints = "signature"
autodoc_typehints_format = "short"
autodoc_inherit_docstrings = True
# Members of the named base classes are left out.
autodoc_default_options = {
    "members": True,
    "inherited-members": "BaseModel, Module, BaseException, Exception, Enum, Generic, Protocol, tuple, dict, object",
}
python_maximum_signature_line_length = 88
python_use_unqualified_type_names = True
napoleon_google_docstring = True
napoleon_numpy_docstring = False
napoleon_use_ivar = True  # attributes are a list: properties have separate entries
default_role = "literal"
nitpicky = True
# Annotations name types of other libraries and of modules that are not public. Links in text are checked.
nitpick_ignore_regex = [("py:(class|exc)", ".*")]
suppress_warnings = ["myst.header"]  # reference/cli.md has headings of level 4 below level 2

# --- appearance -------------------------------------------------------------------------------------------------------

html_theme = "furo"
html_title = "Millpond"
html_static_path = [str(FOLDER / "static"), str(LOGO)]
html_css_files = ["site.css"]
html_copy_source = False
html_show_sourcelink = False
html_show_sphinx = False
html_favicon = str(LOGO)
html_theme_options = {
    "light_logo": LOGO.name,
    "dark_logo": LOGO.name,
    "sidebar_hide_name": False,
    "navigation_with_keys": True,
    "light_css_variables": {"color-brand-primary": "#0b6e6e", "color-brand-content": "#0b6e6e"},
    "dark_css_variables": {"color-brand-primary": "#5cc8c2", "color-brand-content": "#5cc8c2"},
}
# The colours of code are those of Furo, which have the contrast of WCAG AA.


def skip_member(*arguments: Any) -> bool | None:
    """Omit the settings of pydantic, which every model has, and fields of named tuples, which are attributes."""
    _, _, name, value, *_ = arguments
    is_settings = name == "model_config" and isinstance(value, dict)
    return True if is_settings or str(getattr(value, "__doc__", "")).startswith("Alias for field number") else None


def module_of_source(_: Sphinx, module: str, name: str) -> str | None:
    """Leave objects of `builtins` with the module that names them: there is no page of the source of `builtins`."""
    try:
        value = attrgetter(name)(import_module(module))
    except AttributeError:  # an attribute that only instances have
        return None
    return module if getattr(value, "__module__", None) == "builtins" else None


def setup(app: Sphinx) -> None:
    """Connect the functions above, and use Google's word for the variables of a class."""
    app.connect("autodoc-skip-member", skip_member)
    app.connect("viewcode-follow-imported", module_of_source)
    for field in PyObject.doc_field_types:
        if field.name == "variable":
            field.label = "Attributes"
