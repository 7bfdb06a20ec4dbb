"""Writing a new package from the templates of its kind."""

import shutil
from importlib.resources import files
from pathlib import Path
from tempfile import TemporaryDirectory

from millpond.plugin.manager import PluginManager
from millpond_cli.scaffold.kinds import Kind
from millpond_cli.scaffold.names import PackageNames
from millpond_command.cli import CommandError

SHARED = {
    "pyproject.toml": "pyproject.toml",
    "README.md": "README.md",
    "gitignore": ".gitignore",
    "workflow.yml": ".github/workflows/test.yml",
    "package.txt": "src/addon_package/__init__.py",
}
USAGE_FILE = "usage.md"
USAGE_PLACE = "<!-- usage -->\n"
REQUIREMENT_PLACE = "addon-requirement"


def write_package(names: PackageNames, kind: Kind, parent: Path) -> tuple[Path, list[str]]:
    """Write a package into a new folder; the folder appears complete or not at all.

    Returns:
        The folder, and the paths of the files in it.

    Raises:
        CommandError: If the folder exists or cannot be written.
    """
    folder = parent / names.distribution
    if folder.exists():
        message = f"{folder} exists already"
        raise CommandError(message, hint="choose another name, or another folder with --output")
    contents = {names.fill(path): names.fill(text) for path, text in _templates(kind).items()}
    try:
        parent.mkdir(parents=True, exist_ok=True)
        with TemporaryDirectory(dir=parent, prefix=f".{names.distribution}-") as temporary:
            new = Path(temporary) / names.distribution
            for path, text in contents.items():
                target = new / path
                target.parent.mkdir(parents=True, exist_ok=True)
                target.write_text(text, encoding="utf-8")
            shutil.move(new, folder)
    except OSError as error:
        message = f"cannot write {folder}: {error.strerror or error}"
        raise CommandError(message) from error
    return folder, sorted(contents)


def check_unused(names: PackageNames, kind: Kind, plugins: PluginManager) -> None:
    """Check that no installed plugin has these names: the new one would conflict with it or replace its component.

    Raises:
        CommandError: If the name is in use.
    """
    hint = "choose another name"
    if names.component in {info.name for info in plugins.plugins()}:
        message = f"a plugin {names.component!r} is installed already"
        raise CommandError(message, hint=hint)
    record = kind.record_name(names.component)
    if record in plugins.registry.catalog(kind.catalog).names():
        message = f"{kind.value.replace('io-', 'IO ')} {record!r} exists already"
        raise CommandError(message, hint=hint)


def _templates(kind: Kind) -> dict[str, str]:
    """Return the templates of a package by the paths of its files."""
    templates = files("millpond_cli") / "scaffold" / "templates"
    texts = {path: (templates / "shared" / name).read_text(encoding="utf-8") for name, path in SHARED.items()}
    by_kind = {it.name: it.read_text(encoding="utf-8") for it in (templates / kind.value).iterdir() if it.is_file()}
    texts["README.md"] = texts["README.md"].replace(USAGE_PLACE, by_kind.pop(USAGE_FILE))
    texts["pyproject.toml"] = texts["pyproject.toml"].replace(REQUIREMENT_PLACE, kind.requirement)
    for name, text in by_kind.items():
        texts[f"tests/{name}" if name.startswith("test_") else f"src/addon_package/{name}"] = text
    return texts
