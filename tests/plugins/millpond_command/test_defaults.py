"""Configuration: command line, environment, project file, user file, default, in this order of precedence."""

import json
import os
import subprocess
import sys

import pytest
from permissions import respected_permissions
from typer.testing import CliRunner

from millpond_cli.commands import similarity
from millpond_command import cli
from millpond_command.config_files import read_config_files


@pytest.fixture
def home(tmp_path, monkeypatch):
    """The user's folder of configuration; the working directory is another, empty folder."""
    (tmp_path / "home/millpond").mkdir(parents=True)
    (tmp_path / "work/inner").mkdir(parents=True)
    monkeypatch.delenv("MILLPOND_CONFIG_FILE", raising=False)
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path / "home"))
    monkeypatch.chdir(tmp_path / "work/inner")
    return tmp_path / "home/millpond"


@pytest.fixture
def project(home):
    return home.parents[1] / "work"


@pytest.fixture
def loaded(monkeypatch):
    """The model and the options that `millpond similarity` was called with."""
    calls = []

    def load(model, options):
        calls.append({"model": model, **vars(options)})
        raise cli.CommandError("stop")

    monkeypatch.setattr(similarity, "load_model", load)
    return calls


def write(folder, text):
    (folder / "millpond.toml").write_text(text, encoding="utf-8")


def run(*arguments):
    return CliRunner().invoke(cli.app, list(arguments))


def options_with(loaded, *arguments):
    done = run("similarity", "a", "b", *arguments)
    assert done.stderr.startswith("error: stop"), done.stderr
    return loaded[-1]


def test_precedence_is_command_line_environment_project_user(home, project, loaded, monkeypatch):
    assert options_with(loaded)["dtype"] == "auto"
    write(home, 'dtype = "user"')
    assert options_with(loaded)["dtype"] == "user"
    write(project, 'dtype = "project"')
    assert options_with(loaded)["dtype"] == "project"
    monkeypatch.setenv("MILLPOND_DTYPE", "environment")
    assert options_with(loaded)["dtype"] == "environment"
    assert options_with(loaded, "--dtype", "line")["dtype"] == "line"


def test_the_table_of_a_command_takes_precedence_over_keys_for_all_commands(home, loaded):
    write(home, 'dtype = "all"\ndevice = "cpu"\n[similarity]\ndtype = "one"\n[embed]\ndtype = "other"\n')
    options = options_with(loaded)
    assert (options["dtype"], options["device"]) == ("one", "cpu")


def test_a_project_table_takes_precedence_over_a_user_table(home, project, loaded):
    write(home, '[similarity]\ndtype = "user"')
    write(project, 'dtype = "project"')
    assert options_with(loaded)["dtype"] == "project"


def test_keys_have_dashes_or_underscores_and_all_spellings_of_an_option(home, loaded):
    write(home, "max-model-len = 7\nbatch_tokens = 9\n")
    options = options_with(loaded)
    assert (options["max_model_len"], options["max_num_batched_tokens"]) == (7, 9)


def test_objects_lists_and_flags_have_the_types_of_toml(home, loaded):
    write(home, 'pooler-config = {pooling_type = "CLS"}\nkernel = ["attention=sdpa", "x=y"]\nallow-pickle = true\n')
    options = options_with(loaded)
    assert json.loads(options["pooler_config"]) == {"pooling_type": "CLS"}
    assert (options["kernels"], options["allow_pickle"]) == (["attention=sdpa", "x=y"], True)


@pytest.mark.parametrize(
    ("text", "values"), [("attention=sdpa", ["attention=sdpa"]), ('["a=b", "c=d"]', ["a=b", "c=d"]), ("[a", ["[a"])]
)
def test_a_variable_of_a_repeatable_option_is_one_value_or_a_json_list(home, loaded, monkeypatch, text, values):
    monkeypatch.setenv("MILLPOND_KERNEL", text)
    monkeypatch.setenv("MILLPOND_ALLOW_PICKLE", "yes")
    options = options_with(loaded)
    assert (options["kernels"], options["allow_pickle"]) == (values, True)


def test_a_key_of_another_command_is_accepted(home, loaded):
    write(home, "port = 9000\ntop-n = 3\n[serve]\nport = 9001\n[job.run]\nshard-rows = 7\n")
    assert options_with(loaded)["device"] == "auto"


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ('devize = "cpu"', "Unknown key 'devize'. Did you mean 'device'?"),
        ('[similarity]\ndevize = "cpu"', "Unknown key '[similarity] devize'. Did you mean 'device'?"),
        ("[similarty]\njson = true", "Unknown key 'similarty'. Did you mean 'similarity'?"),
        ("[similarity]\ntop-n = 3", "Unknown key '[similarity] top-n'."),
        ("zzz = 1", "Unknown key 'zzz'. No command has an option of that name."),
        ("allow-pickle = 1", "allow-pickle = 1: expected true or false"),
        ("device = true", "device = true: expected a text or a number"),
        ("kernel = [[1]]", "kernel = [[1]]: expected a list of texts"),
        ("device = ", "is not TOML:"),
    ],
)
def test_errors_in_a_file_name_it_and_suggest_keys(home, text, message):
    write(home, text)
    done = run("similarity", "a", "b")
    assert (done.exit_code, done.stdout) == (2, "")
    assert f"{home / 'millpond.toml'}" in done.stderr
    assert message in done.stderr


@pytest.mark.parametrize(
    "key", ["allow-pickle = true", "allow_pickle = true", "[similarity]\ntrust-remote-code = true"]
)
def test_file_of_a_project_sets_no_option_that_can_run_code(home, project, loaded, monkeypatch, key):
    write(project, key)
    done = run("similarity", "a", "b")
    assert done.exit_code == 2
    assert "cannot be set in the file of a project" in done.stderr
    assert str(home / "millpond.toml") in done.stderr  # where it can be set
    monkeypatch.setenv("MILLPOND_CONFIG_FILE", str(project / "millpond.toml"))
    assert run("similarity", "a", "b").stderr == "error: stop\n"


def test_errors_about_a_configured_value_name_its_origin(home, monkeypatch):
    write(home, 'max-model-len = "x"')
    done = run("similarity", "a", "b")
    assert done.exit_code == 2
    assert f"hint: --max-model-len is set by {home / 'millpond.toml'}" in done.stderr
    assert "is set by" not in run("similarity", "a", "b", "--max-model-len", "y").stderr
    monkeypatch.setenv("MILLPOND_MAX_MODEL_LEN", "z")
    assert "hint: --max-model-len is set by MILLPOND_MAX_MODEL_LEN" in run("similarity", "a", "b").stderr
    monkeypatch.setenv("MILLPOND_ALLOW_PICKLE", "perhaps")
    assert "MILLPOND_ALLOW_PICKLE='perhaps': expected true or false" in run("similarity", "a", "b").stderr


def test_help_is_shown_although_a_file_is_damaged(home):
    write(home, "???")
    assert run("similarity", "--help").exit_code == 0
    assert run("--help").exit_code == 0


def test_a_variable_names_the_file_or_none(home, project, loaded, monkeypatch, tmp_path):
    write(project, 'dtype = "project"')
    other = tmp_path / "other.toml"
    other.write_text('dtype = "other"', encoding="utf-8")
    monkeypatch.setenv("MILLPOND_CONFIG_FILE", str(other))
    assert options_with(loaded)["dtype"] == "other"
    monkeypatch.setenv("MILLPOND_CONFIG_FILE", "")
    assert read_config_files() == []
    assert options_with(loaded)["dtype"] == "auto"
    monkeypatch.setenv("MILLPOND_CONFIG_FILE", str(tmp_path / "missing.toml"))
    assert "missing.toml: no such file" in run("similarity", "a", "b").stderr


def test_a_home_folder_without_access_has_no_file(home):
    (home / "millpond.toml").write_text('dtype = "user"', encoding="utf-8")
    home.parent.chmod(0)
    try:
        with respected_permissions():
            assert read_config_files() == []
    finally:
        home.parent.chmod(0o700)


def test_a_service_of_kubernetes_called_millpond_does_not_set_the_port(home, monkeypatch):
    monkeypatch.setenv("MILLPOND_PORT", "tcp://10.0.0.1:80")
    assert run("config", "show").stdout.startswith("No option is configured")


def test_secrets_of_the_server_are_not_read_as_options(home, monkeypatch):
    monkeypatch.setenv("MILLPOND_API_KEY", "secret")
    assert run("config", "show").stdout.startswith("No option is configured")


def test_config_show_lists_values_with_origin_and_commands(home, project, monkeypatch):
    write(home, 'device = "cpu"\n[serve]\nport = 9000\napi-key = "secret"\n')
    write(project, "[job.run]\nshard-rows = 7\n")
    monkeypatch.setenv("MILLPOND_DEVICE", "cuda")
    shown = json.loads(run("config", "show", "--json").stdout)
    assert shown["files"] == [str(project / "millpond.toml"), str(home / "millpond.toml")]
    by_option = {it["option"]: it for it in shown["options"]}
    assert by_option["--device"]["origin"] == "MILLPOND_DEVICE"
    assert {"embed", "serve", "job run"} <= set(by_option["--device"]["commands"])
    assert by_option["--port"] == {
        "option": "--port",
        "value": "9000",
        "origin": str(home / "millpond.toml"),
        "commands": ["serve"],
    }
    assert by_option["--shard-rows"]["commands"] == ["job run"]
    table = run("config", "show", "serve").stdout
    assert "secret" not in table
    assert table.splitlines()[0].split() == ["OPTION", "VALUE", "ORIGIN", "COMMANDS"]
    assert "--shard-rows" not in table
    assert "Unknown command 'sevre'" in run("config", "show", "sevre").stderr


def test_config_show_checks_the_tables_of_all_commands(home):
    write(home, "[serve]\nprot = 9000\n")
    assert run("similarity", "a").exit_code == 2
    assert "Unknown key '[serve] prot'. Did you mean 'port'?" in run("config", "show").stderr


def test_a_group_without_a_subcommand_shows_its_help(home):
    write(home, 'device = "cpu"')
    assert "Usage: millpond plugins" in run("plugins").stderr


def test_reading_a_file_imports_nothing_heavy(home):
    write(home, 'device = "cpu"\n[similarity]\ndtype = "float32"\n')
    code = """
import sys
from millpond_command.cli import app
try:
    app(["similarity"], prog_name="millpond")
except SystemExit:
    pass
assert not {"torch", "numpy", "rich"} & set(sys.modules)
assert "tomllib" in sys.modules
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False, env=os.environ)
    assert done.returncode == 0, done.stderr
    assert "Missing argument" in done.stderr


NOBODY = 65534


def give_to_nobody(path):
    if os.geteuid() != 0:
        pytest.skip("only root can give a file to another user")
    os.chown(path, NOBODY, NOBODY)


@pytest.fixture
def shared(tmp_path, monkeypatch):
    """A folder in which all users can create files, and which is the parent of the working directory."""
    folder = tmp_path / "shared"
    (folder / "inner").mkdir(parents=True)
    folder.chmod(0o1777)
    monkeypatch.delenv("MILLPOND_CONFIG_FILE", raising=False)
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path / "home"))
    monkeypatch.chdir(folder / "inner")
    return folder


def read_warnings(capsys):
    """The files that are read, and the warnings."""
    return [file.path for file in read_config_files()], capsys.readouterr().err


def test_a_file_of_another_user_is_passed_over_with_one_warning(shared, capsys):
    write(shared, 'device = "cuda"')
    give_to_nobody(shared / "millpond.toml")
    path = shared / "millpond.toml"
    files, warning = read_warnings(capsys)
    assert files == []
    assert warning == (
        f"warning: {path} is not read: it belongs to another user (nobody). If you trust it, set "
        f"MILLPOND_CONFIG_FILE={path}\n"
    )
    assert read_warnings(capsys) == ([], "")


def test_a_file_of_another_user_is_read_if_the_variable_names_it(shared, capsys, monkeypatch):
    write(shared, 'device = "cuda"')
    give_to_nobody(shared / "millpond.toml")
    monkeypatch.setenv("MILLPOND_CONFIG_FILE", str(shared / "millpond.toml"))
    assert read_warnings(capsys) == ([shared / "millpond.toml"], "")


def test_the_own_file_in_a_sticky_folder_is_read(shared, capsys):
    write(shared, 'device = "cuda"')
    assert read_warnings(capsys) == ([shared / "millpond.toml"], "")


def test_a_link_in_a_sticky_folder_is_passed_over(shared, capsys, tmp_path):
    (tmp_path / "other.toml").write_text('device = "cuda"', encoding="utf-8")
    (shared / "millpond.toml").symlink_to(tmp_path / "other.toml")
    files, warning = read_warnings(capsys)
    assert files == []
    assert "it is a link in a folder that other users can write" in warning


@pytest.mark.parametrize(("mode", "reason"), [(0o666, "all users"), (0o664, "its group")])
def test_a_file_that_others_can_write_is_passed_over(home, project, capsys, mode, reason):
    write(project, 'device = "cuda"')
    (project / "millpond.toml").chmod(mode)
    if reason == "its group" and os.geteuid() == 0:
        os.chown(project / "millpond.toml", 0, NOBODY)
    files, warning = read_warnings(capsys)
    assert files == []
    assert f"it can be written by {reason}" in warning


def test_a_file_in_a_folder_that_others_can_write_is_passed_over(home, project, capsys):
    write(project, 'device = "cuda"')
    project.chmod(0o777)
    files, warning = read_warnings(capsys)
    assert files == []
    assert "its folder can be written by all users" in warning


def test_a_file_in_the_folder_of_another_user_is_passed_over(home, project, capsys):
    write(project, 'device = "cuda"')
    give_to_nobody(project)
    files, warning = read_warnings(capsys)
    assert files == []
    assert "its folder belongs to another user (nobody)" in warning


def test_a_passed_over_file_does_not_hide_the_one_above(home, project, capsys):
    write(project, 'device = "cuda"')
    write(project / "inner", 'device = "cpu"')
    (project / "inner/millpond.toml").chmod(0o666)
    assert read_warnings(capsys)[0] == [project / "millpond.toml"]


def test_a_pipe_in_place_of_a_file_does_not_block(home, project, capsys):
    os.mkfifo(project / "millpond.toml")
    files, warning = read_warnings(capsys)
    assert files == []
    assert "it is not a regular file" in warning


def test_a_huge_or_deeply_nested_file_is_an_error(home, project):
    write(project, "#" * 1_000_001)
    assert "is larger than 1000000 bytes" in run("similarity", "a", "b").stderr
    write(project, "a = " + "[" * 100_000)
    assert "is not TOML" in run("similarity", "a", "b").stderr
