"""The table of vLLM's arguments is complete, and values without effect are accepted."""

import logging
from pathlib import Path

import pytest

from millpond.loading.arguments import KNOWN, read_arguments
from millpond.types.errors import InvalidInputError
from millpond_vllm import arguments as vllm

DATA = Path(__file__).parents[2] / "data"


def test_every_field_of_engine_args_is_known():
    fields = (DATA / "vllm_engine_args.txt").read_text().split()
    assert len(fields) > 230
    known = {*KNOWN, *vllm.RENAMED, *vllm.LOWERS, vllm.LOG_LEVEL, "model", "attention_backend"}
    assert [name for name in fields if name not in known and vllm.engine_argument(name) is None] == []


def test_every_neutral_value_is_accepted_and_needs_no_note(caplog):
    caplog.set_level(logging.INFO)
    arguments = {
        name: argument.accepted[0]
        for name, argument in vllm.ARGUMENTS.items()
        if argument.takes != "server" and argument.reason and argument.accepted_without is None
    }
    read_arguments(arguments)
    assert "vLLM arguments" not in caplog.text


OPTIONS_OF_0_33 = [
    "trust_request_mm_kwargs",
    "log_level",
    "logging_config",
    "max_num_active_seqs",
    "watchdog_config",
    "grpc_port",
    "sse_keep_alive_interval",
    "enable_scale_out",
    "reasoning_effort_map",
    "tool_strict_level",
    "anthropic_disabled_thinking_effort",
    "enable_hc_sp",
    "sparse_indexer_topk_backend",
    "elastic_ep_max_dp_size",
    "long_prefill_token_threshold_adaptive",
    "enable_shm_tensor_arena",
    "max_lora_cls_labels",
    "aux_output_config",
    "watermark_config",
    "custom_histogram_buckets",
    "engram_config",
    "monokernel",
    "sleep_mode_backend",
    "sleep_mode_offload_cudagraph",
    "sleep_preserve_parameter_names",
    "enable_mamba_shared_prefix_checkpoint",
    "swa_bounded_replay",
    "kda_decode_backend",
]


def test_every_option_of_vllm_0_33_is_known():
    assert len(OPTIONS_OF_0_33) == 28
    known = {*vllm.ARGUMENTS, *vllm.LOWERS, vllm.LOG_LEVEL}
    assert [name for name in OPTIONS_OF_0_33 if name not in known] == []


def test_arguments_with_several_values_are_lists():
    lists = {name for name, argument in vllm.ARGUMENTS.items() if argument.form == "list"}
    assert lists == {
        "collect_detailed_traces",
        "cpu_offload_params",
        "cuda_graph_sizes",
        "cudagraph_capture_sizes",
        "device_ids",
        "ignore_patterns",
        "kv_cache_dtype_skip_layers",
        "logits_processors",
        "lora_modules",
        "lora_target_modules",
        "middleware",
        "numa_bind_cpus",
        "numa_bind_nodes",
        "offload_params",
        "sleep_preserve_parameter_names",
    }


def test_arguments_that_enable_or_disable_something_are_flags():
    switches = [name for name in vllm.ARGUMENTS if name.startswith(("enable_", "disable_", "use_", "skip_"))]
    others = [name for name in switches if vllm.ARGUMENTS[name].form != "flag"]
    assert others == ["disable_access_log_for_endpoints"]  # paths, separated by commas


def test_active_sequences_lower_the_sequences_of_a_batch():
    assert read_arguments({"max_num_active_seqs": 4}).engine.max_num_seqs == 4
    assert read_arguments({"max_num_active_seqs": 4, "max_num_seqs": 9}).engine.max_num_seqs == 4
    assert read_arguments({"max_num_active_seqs": 4, "max_num_seqs": 2}).engine.max_num_seqs == 2
    with pytest.raises(InvalidInputError, match="max_num_active_seqs=0: expected a whole number"):
        read_arguments({"max_num_active_seqs": 0})


def test_the_log_level_sets_that_of_the_loggers_of_all_packages():
    loggers = [logging.getLogger(name) for name in ("millpond", "millpond_io", "millpond_vllm")]
    levels = [logger.level for logger in loggers]
    try:
        read_arguments({"log_level": "debug"})
        assert [logger.level for logger in loggers] == [logging.DEBUG] * 3
        with pytest.raises(InvalidInputError, match="Unknown log level 'loud'"):
            read_arguments({"log_level": "loud"})
    finally:
        for logger, level in zip(loggers, levels, strict=True):
            logger.setLevel(level)
