"""``millpond serve``: translation of vLLM's command lines, settings and their defaults, and errors."""

import json
import logging

import pytest
import typer
from typer.main import get_command

from millpond_command.cli import CommandError
from millpond_command.model_arguments import arguments_of, option_of
from millpond_server.command.options import LimitOptions, ModelOptions, ServerOptions
from millpond_server.command.serve import app
from millpond_server.command.settings import names_of, settings_of
from millpond_server.command.vllm_options import translate
from millpond_vllm import arguments as vllm

COMMAND = get_command(app)
GROUPS = {group: group() for group in (ServerOptions, ModelOptions, LimitOptions)}


def parsed(*words):
    """Return the models of a parsed command line, and a dataclass for each group of options."""
    context = typer.Context(COMMAND, info_name="serve")
    COMMAND.parse_args(context, list(words))
    values = context.params
    groups = [group(**{name: values[name] for name in vars(default)}) for group, default in GROUPS.items()]
    return values["models"], *groups


def arguments(*words):
    """Return the model arguments of a command line that differ from their defaults."""
    model_arguments = arguments_of(parsed("m", *words)[2])
    defaults = arguments_of(ModelOptions())
    return {name: value for name, value in model_arguments.items() if defaults.get(name) != value}


def settings(*words, **environment):
    _, server, _, limits = parsed("m", *words)
    return settings_of(server, limits, environment)


# --- the model --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("words", "expected"),
    [
        (["--max-model-len", "512"], {"max_model_len": 512}),
        (["--max_model_len=512"], {"max_model_len": 512}),
        (["--pooler-config", '{"pooling_type": "CLS"}'], {"pooler_config": {"pooling_type": "CLS"}}),
        (["--pooler_config", '{"task": "embed"}'], {"pooler_config": {"task": "embed"}}),
        (["--override-pooler-config", '{"normalize": false}'], {"pooler_config": {"normalize": False}}),
        (
            [
                "--pooler-config.task",
                "embed",
                "--pooler_config.dimensions=32",
                "--pooler-config.use_activation",
                "false",
            ],
            {"pooler_config": {"task": "embed", "dimensions": 32, "use_activation": False}},
        ),
        (["--hf_overrides", '{"is_causal": false}'], {"hf_overrides": {"is_causal": False}}),
        (
            ["--hf-overrides.rope.theta", "1e6", "--hf-overrides.rope.kind", "linear", "--hf-overrides.names", '["a"]'],
            {"hf_overrides": {"rope": {"theta": 1e6, "kind": "linear"}, "names": ["a"]}},
        ),
        (["--runner", "pooling", "--convert", "embed"], {"runner": "pooling", "convert": "embed"}),
        (["--model-impl", "transformers"], {"model_impl": "transformers"}),
        (["--task", "embed"], {"task": "embed"}),
        (["--trust-remote-code", "--revision", "abc"], {"trust_remote_code": True, "revision": "abc"}),
        (["-q", "int8"], {"quantization": "int8"}),
        (["--kernels", "attention=sdpa", "linear=torch"], {"kernels": {"attention": "sdpa", "linear": "torch"}}),
        (["--kernel", "attention=sdpa", "--kernel", "a=b"], {"kernels": {"attention": "sdpa", "a": "b"}}),
        (
            ["--io-processor-plugin", "p", "--chat-template", "t.jinja"],
            {"io_processor_plugin": "p", "chat_template": "t.jinja"},
        ),
        (["--max-num-batched-tokens", "64", "--max-num-seqs=2"], {"max_num_batched_tokens": 64, "max_num_seqs": 2}),
        (["--num-workers", "1"], {"num_workers": 1}),
        (["--on-overflow", "truncate", "--dtype", "float32"], {"on_overflow": "truncate", "dtype": "float32"}),
        (
            ["--device", "cpu", "--batch-invariant", "--allow-pickle"],
            {"batch_invariant": True, "allow_pickle": True, "device": "cpu"},
        ),
    ],
)
def test_arguments_of_the_model(words, expected):
    assert arguments(*words) == expected


def test_every_argument_is_one_of_async_llm():
    from millpond.loading.arguments import DEFAULTS

    assert set(vars(ModelOptions())) - {"task", "attention_backend"} <= set(DEFAULTS)
    unsaid = arguments_of(ModelOptions())
    assert unsaid == {name: DEFAULTS[name] for name in unsaid}


def test_no_declared_option_is_treated_as_one_without_effect():
    declared = {name for parameter in COMMAND.params for name in (*parameter.opts, *parameter.secondary_opts)}
    assert "--model-impl" in declared
    assert declared & {*vllm.options(), *vllm.SHORT_OPTIONS, *map(option_of, vllm.RENAMED)} == set()


def test_options_without_effect_are_accepted_with_a_note(capsys):
    words = (
        "--gpu-memory-utilization 0.9 --enforce_eager --disable-log-requests --tensor-parallel-size 1 -tp=1 --seed 0"
    )
    assert arguments(*words.split()) == {}
    (line,) = capsys.readouterr().err.splitlines()
    assert line.startswith("note: without effect here: --gpu-memory-utilization 0.9, --enforce-eager, ")
    assert line.endswith("--enforce-eager, --disable-log-requests, --seed 0")


@pytest.mark.parametrize(
    ("words", "note"),
    [
        ("--no-enable-flash-late-interaction", "--no-enable-flash-late-interaction"),
        ("--enable_auto_tool_choice --tool-call-parser x", "--enable-auto-tool-choice, --tool-call-parser x"),
        ("-O3 -cc.mode=3 -ac {}", "--optimization-level 3, --compilation-config.mode 3, --attention-config {}"),
        ("--cudagraph-capture-sizes 1 2 4 --enforce-eager", "--cudagraph-capture-sizes 1 2 4, --enforce-eager"),
        (
            "--cpu-offload-params experts w2 --kv-cache-dtype-skip-layers 0 31",
            "--cpu-offload-params experts w2, --kv-cache-dtype-skip-layers 0 31",
        ),
        ("--load-format fastsafetensors --config-format hf", "--load-format fastsafetensors, --config-format hf"),
        ("--speculative-config None --no-enable-lora --nnodes 1 -dpl 1", ""),
        ("--no-trust-remote-code --tokenizer-revision None", ""),
    ],
)
def test_options_of_vllm_are_removed_with_their_values(words, note):
    translated = translate(["m", *words.split(), "--port", "1"])
    assert translated.words == ["m", "--port", "1"]
    noted = [
        word
        for word in translated.without_effect
        if word not in ("--load-format fastsafetensors", "--config-format hf")
    ]
    assert ", ".join(noted) in note


def test_short_options_of_data_parallelism_are_those_of_vllm():
    translated = translate(["m", "-dp", "2", "-dpb=mp"])
    assert translated.words == ["m", "--data-parallel-size", "2", "--data-parallel-backend=mp"]
    assert translated.without_effect == []


def test_every_option_of_the_table_is_accepted_in_each_of_its_forms():
    for argument in vllm.ARGUMENTS.values():
        if argument.takes == "engine":
            continue
        words = [argument.option] if argument.form == "flag" else [argument.option, "None"]
        if argument.form == "flag" and argument.reason:
            words = [f"--no-{argument.option[2:]}"]
        assert translate(["m", *words, "--port=1"]).words == ["m", "--port=1"], argument


def test_options_that_have_another_name_here_are_renamed():
    words = ["--max-num-queued-tokens", "5", "--shutdown-timeout=2", "m"]
    assert translate(words).words == ["--max-waiting-tokens", "5", "--drain-timeout=2", "m"]


@pytest.mark.parametrize(
    ("words", "expected"),
    [
        ("--max-num-active-seqs 4", ["m", "--port=1", "--max-num-seqs=4"]),
        ("--max-num-seqs 9 --max_num_active_seqs=4", ["m", "--max-num-seqs", "4", "--port=1"]),
        ("--max-num-active-seqs 4 --max-num-seqs=2", ["m", "--max-num-seqs=2", "--port=1"]),
    ],
)
def test_active_sequences_lower_the_sequences_of_a_batch(words, expected):
    assert translate(["m", *words.split(), "--port=1"]).words == expected


def test_the_log_level_sets_that_of_the_root_logger():
    root = logging.getLogger()
    level = root.level
    try:
        parsed("m", "--log-level", "DEBUG")
        assert root.level == logging.DEBUG
    finally:
        root.setLevel(level)


@pytest.mark.parametrize(
    ("words", "message"),
    [
        ("--log-level loud", "Unknown log level 'loud'. Available: trace, debug"),
        ("--max-num-active-seqs 0", "--max-num-active-seqs 0: expected a whole number of at least 1"),
    ],
)
def test_invalid_values_of_options_with_an_effect_are_errors(words, message):
    with pytest.raises(CommandError, match=message):
        translate(["m", *words.split()])


def test_a_tokenizer_may_be_of_the_revision_of_the_model():
    assert arguments("--tokenizer-revision", "abc", "--revision", "abc") == {"revision": "abc"}
    with pytest.raises(CommandError, match=r"--tokenizer-revision abd is not supported: .* pass `revision`"):
        arguments("--tokenizer-revision", "abd", "--revision", "abc")


def test_an_option_that_is_almost_one_of_vllm_is_an_error_with_that_one():
    with pytest.raises(Exception, match="No such option: --gpu-memory-utilisation") as raised:
        parsed("m", "--gpu-memory-utilisation", "0.9")
    assert "--gpu-memory-utilization" in raised.value.format_message()


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["--tensor-parallel-size", "2"], "--tensor-parallel-size 2 is not supported: only 1 is"),
        (["-tp", "8"], "only 1 is"),
        (["--enable-lora"], "--enable-lora is not supported: only False is: merge the adapter"),
        (["--lora-modules", "a=b", "c=d"], "--lora-modules a=b c=d is not supported: merge the adapter"),
        (["--speculative-config", '{"method": "eagle"}'], "is not supported: .*generate no tokens"),
        (["--kv-transfer-config.kv_role", "both"], "is not supported: pooling models keep no cache"),
        (["--load-format", "dummy"], "--load-format dummy is not supported: weights are read from safetensors"),
        (["--tokenizer-mode=mistral"], "--tokenizer-mode mistral is not supported"),
        (["--media-io-kwargs", '{"image": {"mode": "RGBA"}}'], "images are decoded as RGB"),
        (["--max-num-queued-reqs", "9"], "pass `max_waiting_tokens`"),
        (["--pooler-config", "{"], "is not JSON"),
        (["--hf-overrides", "[]"], "is not a JSON object"),
        (["--pooler-config", "{}", "--pooler-config.task", "embed"], "both as a whole and in parts"),
        (["--pooler-config.task"], "needs a value"),
        (["--gpu-memory-utilization"], "needs a value"),
        (["--kernel", "sdpa"], "OP=VARIANT"),
        (["--pooler-config", '{"pool": 1}'], "^--pooler-config '{\"pool\": 1}': .*pool"),
    ],
)
def test_invalid_command_lines_are_errors(words, message):
    with pytest.raises(CommandError, match=message) as raised:
        arguments(*words)
    assert raised.value.exit_code == 2


def test_an_unknown_option_is_an_error():
    with pytest.raises(Exception, match="No such option: --modle"):
        parsed("m", "--modle", "x")


# --- models and names -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("words", "expected"),
    [
        (["m"], [("m",)]),
        (["m", "--served-model-name", "a", "b"], [("a", "b")]),
        (["m", "--served_model_name", "a", "--served-model-name", "b", "--port", "1"], [("a", "b")]),
        (["m", "n", "--served-model-name", "a", "b"], [("a",), ("b",)]),
        (["--served-model-name=a", "m"], [("a",)]),
        (["--model", "m", "--port", "1"], [("m",)]),
        (["m", "n"], [("m",), ("n",)]),
    ],
)
def test_names(words, expected):
    models, server, *_ = parsed(*words)
    assert names_of(models, server.served_model_name or ()) == expected


def test_several_models_have_a_name_each():
    with pytest.raises(CommandError, match="3 names for 2 models; pass one name per model"):
        names_of(["m", "n"], ["a", "b", "c"])


# --- the server -------------------------------------------------------------------------------------------------------


def test_settings_of_the_server(tmp_path):
    words = f"""
        --host 0.0.0.0 --port 1 --root-path /x/ --routes a b --log-format json --cors-origin https://a --max-inputs 5
        --max-tokens 6 --max-documents 7 --max-images 10 --max-body-bytes 8 --max-queue-wait 0.5 --max-connections 9
        --request-timeout 2 --hang-timeout 3 --drain-delay 4 --drain-timeout 1.5 --overload-status 429 --public-models
        --public-metrics --api-key-file {tmp_path}/k --uds {tmp_path}/s
    """
    server_settings = settings(*words.split())
    assert (server_settings.host, server_settings.port, server_settings.root_path, server_settings.routes) == (
        "0.0.0.0",
        1,
        "/x",
        ("a", "b"),
    )
    assert (server_settings.log_format, server_settings.cors_origins, server_settings.overload_status) == (
        "json",
        ("https://a",),
        429,
    )
    assert (server_settings.public_models, server_settings.public_metrics) == (True, True)
    assert (server_settings.api_key_file, server_settings.uds) == (f"{tmp_path}/k", f"{tmp_path}/s")
    limits = server_settings.limits
    assert (limits.inputs, limits.tokens, limits.documents, limits.body_bytes) == (5, 6, 7, 8)
    assert limits.images == 10
    assert (limits.queue_wait, limits.connections, limits.request_seconds) == (0.5, 9, 2)
    assert (limits.hang_seconds, limits.drain_delay, limits.drain_seconds) == (3, 4, 1.5)


def test_defaults_are_those_of_settings():
    from millpond_server.runtime.settings import Settings

    assert settings() == Settings()
    assert settings().host == "127.0.0.1"


def test_origins_may_be_a_list_as_in_vllm():
    assert settings("--allowed-origins", json.dumps(["https://a", "https://b"])).cors_origins == (
        "https://a",
        "https://b",
    )


@pytest.mark.parametrize(
    ("words", "environment", "expected"),
    [
        ([], {}, ()),
        (["--api-key", "a", "b", "--api-key", "c"], {"MILLPOND_API_KEY": "no"}, ("a", "b", "c")),
        ([], {"MILLPOND_API_KEY": "own", "VLLM_API_KEY": "other"}, ("own",)),
        ([], {"VLLM_API_KEY": "other"}, ("other",)),
        ([], {"MILLPOND_API_KEY": ""}, ()),
    ],
)
def test_keys_come_from_the_command_line_or_the_environment(words, environment, expected):
    server_settings = settings(*words, **environment)
    assert server_settings.api_keys == expected
    assert not any(key in repr(server_settings) for key in expected if len(key) > 2)


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["--overload-status", "500"], "--overload-status 500"),
        (["--log-format", "xml"], "--log-format 'xml'"),
        (["--max-queue-wait", "0"], "--max-queue-wait 0"),
        (["--root-path", "x y"], "--root-path 'x y'"),
        (["--port", "99999"], "--port 99999"),
        (["--api-key", ""], "^--api-key: "),
        (["--drain-delay", "-1"], "--drain-delay -1"),
    ],
)
def test_invalid_values_are_reported_with_the_name_of_the_option(words, message):
    with pytest.raises(CommandError, match=message):
        settings(*words)


def test_arguments_that_are_not_options_keep_their_positions():
    words = ["a", "--api-key-file", "k", "b", "--host", "h", "--", "-x"]
    assert translate(words).words == words
