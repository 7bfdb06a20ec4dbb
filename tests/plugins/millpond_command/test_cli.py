"""The command ``millpond``: lists commands without importing them, reports errors in one line, keeps stdout clean."""

import json
import re
import subprocess
import sys
import textwrap

import pytest
from command_kit import one_command, plugin, run
from typer.testing import CliRunner

import millpond
from millpond_command import cli
from millpond_command.command_list import HEADINGS

HEAVY = {
    "torch",
    "transformers",
    "numpy",
    "pyarrow",
    "pydantic",
    "rich",
    "tokenizers",
    "safetensors",
    "huggingface_hub",
    "ssl",
}


def run_and_look(*command_lines, exit_code=0):
    """Run command lines in one separate process; return its stdout and the imported modules."""
    code = f"""
import sys
from millpond_command.cli import app
for arguments in {command_lines!r}:
    try:
        app(arguments, prog_name="millpond")
    except SystemExit as exit_:
        assert exit_.code == {exit_code}
print(*sys.modules, file=sys.stderr)
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    return done.stdout, set(done.stderr.split())


def invoke(*arguments, **options):
    """Run the program in this process."""
    return CliRunner().invoke(cli.app, list(arguments), **options)


# --- help and version -------------------------------------------------------------------------------------------------


def test_help_lists_the_commands_and_imports_nothing_heavy():
    stdout, imported = run_and_look(["--help"])
    assert imported & HEAVY == set()
    assert {name for name in imported if name.startswith("millpond_cli.")} == {"millpond_cli.plugin"}
    for name in ("embed", "rerank", "score", "classify", "encode", "similarity", "inspect", "bench", "plugins"):
        assert f"\n  {name} " in stdout
    assert "Embed texts or images as vectors." in stdout


def test_help_lists_commands_under_headings_and_those_of_plugins_last(install_plugin):
    install_plugin(one_command("pass"), "third")
    _, *sections = re.split(r"\n\n(?=\S.*:\n)", invoke("--help").stdout)
    names = {part.partition(":")[0]: re.findall(r"^  ([a-z]\S*)  ", part, re.MULTILINE) for part in sections}
    names.pop("Options")
    assert [*names] == [*HEADINGS, "Other commands"]
    assert names["Serve and run in bulk"] == ["job", "run-batch", "serve"]
    assert names["Other commands"] == ["hello"]


def test_help_escapes_control_characters_in_summaries(install_plugin):
    install_plugin(one_command("pass").replace("Does hello.", r"Clears \x1b[2J the screen."), "third")
    assert r"Clears \x1b[2J the screen." in invoke("--help").stdout


def test_help_of_a_command_imports_nothing_heavy():
    commands = [
        ["embed"],
        ["rerank"],
        ["score"],
        ["classify"],
        ["encode"],
        ["similarity"],
        ["search"],
        ["inspect"],
        ["bench"],
        ["canary", "check"],
        ["plugins", "list"],
        ["plugins", "doctor"],
        ["plugins", "kernels"],
    ]
    stdout, imported = run_and_look(*([*command, "--help"] for command in commands))
    assert {
        "millpond_cli.commands.embed",
        "millpond_cli.commands.similarity",
        "millpond_cli.commands.inspect",
        "millpond_cli.commands.plugins",
    } <= imported
    assert imported & HEAVY == set()
    for command in commands:
        assert f"Usage: millpond {' '.join(command)} [OPTIONS]" in stdout


def test_version_is_one_line():
    assert run("--version").stdout == f"millpond {millpond.__version__}\n"
    assert invoke("--version").exit_code == 0
    assert invoke("-V").stdout == run("--version").stdout


def test_version_imports_no_command_line():
    code = "import sys; sys.argv = ['millpond', '-V']; from millpond_command.program import main; main()"
    code += "; print(*sys.modules, file=sys.stderr)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout == f"millpond {millpond.__version__}\n"
    assert {"millpond", "millpond_command.program"} <= set(done.stderr.split())
    assert set(done.stderr.split()) & {"typer", "logging", "millpond_command.cli", "millpond.plugin.manager"} == set()


@pytest.mark.parametrize("module", ["millpond_command.cli", "millpond_cli.commands.embed"])
def test_ctrl_c_while_a_module_is_imported_shows_no_traceback(module):
    """A KeyboardInterrupt within ``__set_name__``, for example, becomes a RuntimeError."""
    code = f"""if True:
        import os, signal, sys

        class Interrupted:
            def find_spec(self, name, path=None, target=None):
                if name == {module!r}:
                    try:
                        os.kill(os.getpid(), signal.SIGINT)
                    except KeyboardInterrupt:
                        raise RuntimeError("replaced")

        sys.meta_path.insert(0, Interrupted())
        sys.argv = ["millpond", "embed", "a cat"]
        signal.signal(signal.SIGINT, signal.default_int_handler)
        from millpond_command.program import main
        main()
    """
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert (done.returncode, done.stdout, done.stderr) == (130, "", "")


def test_a_working_directory_that_was_removed_is_reported(tmp_path, monkeypatch):
    folder = tmp_path / "removed"
    folder.mkdir()
    monkeypatch.chdir(folder)
    folder.rmdir()
    done = invoke("embed", "a")
    assert (done.exit_code, done.stdout) == (1, "")
    assert done.stderr.startswith("error: the working directory cannot be read: No such file or directory\nhint: ")
    assert invoke("embed", "--help").exit_code == 0


def test_mistakes_are_reported_without_heavy_imports():
    lines = [["embde"], ["embed", "--modle", "x"], ["job", "rnu"], ["serve", "--prot", "1"]]
    stdout, imported = run_and_look(*lines, exit_code=2)
    assert stdout == ""
    assert "millpond_cli.commands.embed" in imported
    assert imported & HEAVY == set()


@pytest.mark.parametrize("words", [[], ["embed"], ["job", "run"], ["plugins"]])
def test_help_before_a_command_is_the_same_as_the_option(words):
    done, expected = invoke("help", *words), invoke(*words, "--help")
    assert (done.exit_code, done.stdout) == (0, expected.stdout)
    assert done.stdout.startswith(f"Usage: {' '.join(['millpond', *words])} ")


def test_help_for_an_unknown_command_suggests_one():
    done = invoke("help", "embde")
    assert (done.exit_code, done.stdout) == (2, "")
    assert "Did you mean 'embed'?" in done.stderr


@pytest.mark.parametrize("module", ["millpond", "millpond_command.cli"])
def test_both_modules_are_the_program(module):
    done = subprocess.run([sys.executable, "-m", module, "-h"], capture_output=True, text=True, check=True)
    assert done.stdout.startswith("Usage: millpond [OPTIONS] COMMAND")


def test_without_a_command_the_help_is_printed_to_stderr():
    done = invoke()
    assert (done.exit_code, done.stdout) == (2, "")
    assert done.stderr.startswith("Usage: millpond")


def test_a_group_without_a_command_shows_its_help_on_stderr():
    done = invoke("plugins")
    assert (done.exit_code, done.stdout) == (2, "")
    assert done.stderr.startswith("Usage: millpond plugins")


def test_completion_names_commands_and_options():
    environment = {"_MILLPOND_COMPLETE": "complete_bash", "COMP_WORDS": "millpond em", "COMP_CWORD": "1"}
    assert run(**environment).stdout.split() == ["embed"]
    environment |= {"COMP_WORDS": "millpond embed --trun", "COMP_CWORD": "2"}
    assert run(**environment).stdout.split() == ["--truncate"]


# --- what was typed ---------------------------------------------------------------------------------------------------


def test_a_misspelled_command_gets_a_suggestion():
    done = invoke("embd")
    assert (done.exit_code, done.stdout) == (2, "")
    assert done.stderr == (
        "error: Unknown command 'embd'. Did you mean 'embed'?\nhint: `millpond --help` lists all commands\n"
    )


def test_an_unknown_command_gets_the_list():
    done = invoke("zzz")
    assert done.exit_code == 2
    assert (
        "Available: bench, cache, canary, classify, config, embed, encode, env, inspect, job, plugins, rerank, "
        in done.stderr
    )


@pytest.mark.parametrize(
    ("arguments", "error", "helper"),
    [
        (["--frobnicate"], "No such option: --frobnicate", "`millpond --help`"),
        (["embed", "--frobnicate"], "No such option: --frobnicate", "`millpond embed --help`"),
        (["inspect"], "Missing argument 'MODEL'.", "`millpond inspect --help`"),
        (["embed", "--dimensions", "x", "a"], "--dimensions", "`millpond embed --help`"),
        (["embed", "--batch-tokens", "0", "a"], "--batch-tokens", "`millpond embed --help`"),
    ],
)
def test_wrong_usage_is_two_lines_and_exits_with_2(arguments, error, helper):
    done = invoke(*arguments)
    assert (done.exit_code, done.stdout) == (2, "")
    first, second = done.stderr.splitlines()
    assert first.startswith("error: ")
    assert error in first
    assert second.startswith(f"hint: {helper}")


def test_a_misspelled_option_gets_the_most_similar_one():
    done = invoke("embed", "--modle", "x", "a")
    assert done.exit_code == 2
    assert done.stderr.splitlines()[0] == "error: No such option: --modle. Did you mean '--model'?"


MISTYPED = {
    "embde a": "embed",
    "plugins lst": "list",
    "embed --modle x a": "--model",
    "embed --task emebd a": "embed",
    "encode --task token_embd a": "token_embed",
    "job run a.csv -o out -m x --task clasify": "classify",
    "job run a.csv -o out -m ./modle": "model",
    "plugins doctor modles": "models",
    "embed -m ./modle a": "model",
    "serve ./modle": "model",
    "embed --format jsnol a": "jsonl",
    "embed --on-error skpi a": "skip",
    "embed --on-overflow truncat a": "truncate",
    "embed -i notes.txtt": "notes.txt",
    "embed -i notes": "notes.txt",
    "score a --documents nots.txt": "notes.txt",
    "plugins new x --kind poler": "pooler",
    "config show embde": "embed",
    "job rnu": "run",
}
RUN_ALL = """
import io, json, sys
from contextlib import redirect_stderr
from millpond_command.cli import app
messages = {}
for line in json.loads(sys.argv[1]):
    with redirect_stderr(io.StringIO()) as stderr:
        try:
            app(line.split(), prog_name="millpond")
        except SystemExit as exit_:
            assert exit_.code in (1, 2), (line, exit_.code)
    messages[line] = stderr.getvalue()
print(json.dumps([messages, "torch" in sys.modules]))
"""


def test_a_misspelled_name_gets_a_suggestion_before_torch_is_imported(tmp_path):
    (tmp_path / "model").mkdir()
    (tmp_path / "notes.txt").touch()
    command = [sys.executable, "-c", RUN_ALL, json.dumps(list(MISTYPED))]
    done = subprocess.run(command, capture_output=True, text=True, check=True, cwd=tmp_path)
    messages, imports_torch = json.loads(done.stdout)
    assert not imports_torch
    for line, name in MISTYPED.items():
        assert re.search(rf"did you mean '?{re.escape(name)}\b", messages[line], re.IGNORECASE), messages[line]


# --- commands of plugins ----------------------------------------------------------------------------------------------


def test_commands_are_listed_by_summary_and_imported_when_called(install_plugin):
    body = """
        import json, sys
        app = typer.Typer()

        @app.command()
        def command(name: str, loud: bool = False):
            print(json.dumps({"name": name, "loud": loud}))
    """
    folder = install_plugin(
        plugin("", greet="'greeting_command:app'", broken="'no_such_module_of_ours:app'"), "greeting"
    )
    (folder / "greeting_command.py").write_text("import typer\n" + textwrap.dedent(body), encoding="utf-8")
    listing = invoke("--help")
    assert listing.exit_code == 0
    assert "greet       Does greet." in listing.stdout
    assert "broken      Does broken." in listing.stdout
    assert "greeting_command" not in sys.modules
    done = invoke("greet", "Ann", "--loud")
    assert (done.exit_code, json.loads(done.stdout)) == (0, {"name": "Ann", "loud": True})
    assert "greeting_command" in sys.modules


def test_a_target_that_cannot_be_imported_is_reported_by_name(install_plugin):
    install_plugin(plugin("", broken="'no_such_module_of_ours:app'"), "third", version="2.0")
    done = invoke("broken")
    assert (done.exit_code, done.stdout) == (1, "")
    assert done.stderr.startswith("error: command 'broken' of plugin third (millpond-third 2.0) cannot be loaded")
    assert "no_such_module_of_ours" in done.stderr


@pytest.mark.parametrize(("target", "message"), [("print", "not a typer.Typer"), ("typer.Typer()", "is empty")])
def test_a_target_that_is_not_an_app_is_reported(install_plugin, target, message):
    install_plugin(plugin("", broken=target), "third")
    done = invoke("broken")
    assert done.exit_code == 1
    assert done.stderr.startswith("error: command 'broken' of plugin third (millpond-third 1.0): its t")
    assert message in done.stderr


def test_an_installed_command_takes_precedence_over_the_built_in_one(install_plugin):
    install_plugin(one_command("print('theirs')", name="embed"), "third")
    assert invoke("embed").stdout == "theirs\n"
    assert "  embed       Does embed.\n" in invoke("--help").stdout
    assert "Embed texts or images as vectors." in invoke("cli/embed", "--help").stdout


def test_a_command_of_two_plugins_is_ambiguous(install_plugin):
    install_plugin(one_command("print('one')"), "one")
    install_plugin(one_command("print('two')"), "two")
    done = invoke("hello")
    assert done.exit_code == 1
    assert done.stderr == "error: command 'hello' is ambiguous. Available: one/hello, two/hello\n"
    assert "ambiguous: use one/hello or two/hello" in invoke("--help").stdout
    assert invoke("two/hello").stdout == "two\n"


def test_a_broken_plugin_causes_only_a_warning(install_plugin):
    install_plugin("raise RuntimeError('it is broken')", "third")
    done = invoke("--help")
    assert done.exit_code == 0
    assert done.stderr.startswith("warning: plugin third (millpond-third 1.0) is not loaded, it failed at import:")
    assert "it is broken" in done.stderr
    assert "embed" in done.stdout


def test_strictness_makes_it_an_error(install_plugin, monkeypatch):
    monkeypatch.setenv("MILLPOND_STRICT_PLUGINS", "1")
    install_plugin("raise RuntimeError('it is broken')", "third")
    done = invoke("plugins", "list")
    assert (done.exit_code, done.stdout) == (1, "")
    assert done.stderr.startswith("error: plugin third")


# --- errors and exit codes --------------------------------------------------------------------------------------------

HELLO = "command 'hello' of plugin third (millpond-third 1.0)"
HINT = "hint: set MILLPOND_DEBUG=1 to show the traceback\n"


@pytest.mark.parametrize(
    ("body", "code", "stderr"),
    [
        ("raise InvalidInputError('it does not fit', index=3)", 1, "error: prompt 3: it does not fit\n"),
        ("raise CommandError('no', hint='go left', exit_code=7)", 7, "error: no\nhint: go left\n"),
        (
            "open('/no/such/file')",
            1,
            f"error: {HELLO} failed: FileNotFoundError: [Errno 2] No such file or directory: '/no/such/file'\n{HINT}",
        ),
        ("{}['key']", 1, f"error: {HELLO} failed: KeyError: 'key'\n{HINT}"),
        ("raise typer.Abort", 1, "error: aborted\n"),
        ("raise typer.Exit(5)", 5, ""),
        ("raise KeyboardInterrupt", 130, ""),
        ("raise SystemExit(9)", 9, ""),
        ("return 4", 0, ""),
        (r"raise InvalidInputError('\x1b[31mred \ud800 \u202e')", 1, "error: \\x1b[31mred \\ud800 \\u202e\n"),
    ],
)
def test_errors_are_reported_in_one_line_with_an_exit_code(install_plugin, body, code, stderr):
    install_plugin(one_command(body), "third")
    done = invoke("hello")
    assert (done.exit_code, done.stdout, done.stderr) == (code, "", stderr)


@pytest.mark.parametrize(("arguments", "environment"), [(["--debug"], {}), ([], {"MILLPOND_DEBUG": "1"})])
def test_a_traceback_is_shown_on_request(install_plugin, arguments, environment):
    install_plugin(one_command("{}['key']"), "third")
    done = invoke(*arguments, "hello", env=environment)
    assert done.exit_code == 1
    assert done.stderr.startswith("Traceback")
    assert done.stderr.rpartition("\nerror: ")[2] == f"{HELLO} failed: KeyError: 'key'\n"


@pytest.mark.parametrize(
    ("arguments", "stderr"), [([], "warning: three\n"), (["--debug"], "info: one\nwarning: three\n")]
)
def test_debug_shows_logs_of_millponds_packages_and_warnings_of_all(install_plugin, arguments, stderr):
    """The loggers of packages such as millpond_io are not children of the core's logger."""
    lines = (("millpond_io.tasks.embed", "info", "one"), ("other", "info", "two"), ("other", "warning", "three"))
    body = "; ".join(f"logging.getLogger({name!r}).{level}({text!r})" for name, level, text in lines)
    install_plugin(one_command(f"import logging; {body}"), "third")
    assert invoke(*arguments, "hello").stderr == stderr


def test_debug_mode_shows_no_traceback_for_usage_errors():
    assert invoke("--debug", "embed", "--nope").stderr.startswith("error: No such option: --nope")
