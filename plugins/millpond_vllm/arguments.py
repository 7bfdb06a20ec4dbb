"""The arguments of vLLM that Millpond does not implement: one table for ``LLM``, ``AsyncLLM`` and ``millpond serve``.

The names are the fields of vLLM's ``EngineArgs`` (0.6 to 0.33) and the options of ``vllm serve``. An argument that is
implemented is not in the table: ``ModelArgs`` and the options of ``millpond serve`` declare it.
"""

import json
from collections.abc import Callable, Iterator, Mapping
from typing import Any, Final

from millpond_vllm.argument import Argument, Form, Takes


def _ignored(names: str, form: Form = "value", takes: Takes = "both") -> Iterator[Argument]:
    for name in names.split():
        yield Argument(name=name, form=form, takes=takes)


def _refused(
    names: str,
    neutral: tuple[object, ...] | Callable[[Any], bool],
    reason: str,
    form: Form = "value",
    takes: Takes = "both",
) -> Iterator[Argument]:
    for name in names.split():
        yield Argument(name=name, form=form, neutral=neutral, reason=reason, takes=takes)


OFF: Final = (False,)
UNSET: Final = (None, "", "auto")
EMPTY: Final[tuple[object, ...]] = (None, "", (), [], {})
ONE_DEVICE: Final = "only 1 is: a model runs on one device; `data_parallel_size` loads it on several"
NO_CLUSTER: Final = "a model runs on one machine; start several servers behind a load balancer"
NO_LORA: Final = "only False is: merge the adapter into the checkpoint's weights"
NO_GENERATION: Final = "Millpond runs pooling models, which generate no tokens"
NO_TRANSFER: Final = "pooling models keep no cache that could be moved between processes"
READS: Final = "weights are read from safetensors files or, with allow_pickle, from pickles"
SAFETENSORS: Final = (
    "auto",
    "hf",
    "safetensors",
    "pt",
    "fastsafetensors",
    "instanttensor",
    "runai_streamer",
)


def _no_images(value: Any) -> bool:
    """Return True if options of media contain none for images; other media are not supported."""
    return not (isinstance(value, Mapping) and value.get("image"))


def _rows() -> Iterator[Argument]:
    """Yield every argument, those of the engine first."""
    yield from _of_computing()
    yield from _of_processes()
    yield from _of_files()
    yield from _of_prompts()
    yield from _of_generation()
    yield from _of_logs()
    yield from _of_server()


def _of_computing() -> Iterator[Argument]:
    # Memory, caches and scheduling: a pooling model keeps no cache, and results do not depend on any of these.
    yield from _ignored(
        "block_size cpu_offload_gb cpu_offload_params gpu_memory_utilization kv_cache_dtype kv_cache_dtype_skip_layers "
        "kv_cache_memory_bytes kv_cache_metrics_sample kv_offloading_backend kv_offloading_size "
        "long_prefill_token_threshold mamba_backend mamba_block_size mamba_cache_dtype mamba_cache_mode "
        "mamba_cache_philox_rounds mamba_config mamba_ssm_cache_dtype mamba_ssu_algorithm max_long_partial_prefills "
        "max_num_partial_prefills max_num_scheduled_tokens num_gpu_blocks_override num_lookahead_slots "
        "num_scheduler_steps offload_backend offload_group_size offload_num_in_group offload_params "
        "offload_prefetch_step preemption_mode prefill_schedule_interval prefix_cache_retention_interval "
        "prefix_caching_hash_algo prefix_match_unit replayssm_buffer_len scheduler_delay_factor scheduling_policy "
        "stream_interval swap_space watermark"
    )
    yield from _ignored(
        "async_scheduling calculate_kv_scales disable_async_output_proc disable_cascade_attn disable_chunked_mm_input "
        "disable_hybrid_kv_cache_manager enable_chunked_prefill enable_mamba_cache_stochastic_rounding "
        "kv_cache_metrics kv_sharing_fast_prefill multi_step_stream_outputs "
        "scheduler_reserve_full_isl use_replayssm use_v2_block_manager",
        "flag",
    )
    # Compilation and kernels: Millpond chooses its own, by `kernels`.
    yield from _ignored(
        "additional_config attention_config compilation_config cuda_graph_sizes gdn_prefill_backend ir_op_priority "
        "jit_monitor_mode kda_prefill_backend kernel_config linear_backend max_context_len_to_capture "
        "max_cudagraph_capture_size max_seq_len_to_capture mm_encoder_attn_backend mm_encoder_attn_dtype moe_backend "
        "optimization_level override_neuron_config performance_mode seed"
    )
    yield from _ignored("cudagraph_capture_sizes", "list")
    yield from _ignored(
        "disable_custom_all_reduce enable_bf16x3_router_gemm enable_cumem_allocator enable_flashinfer_autotune "
        "enforce_eager jit_monitor_verbose use_fp64_gumbel",
        "flag",
    )


def _of_processes() -> Iterator[Argument]:
    yield from _refused("tensor_parallel_size pipeline_parallel_size", (1,), ONE_DEVICE)
    yield from _refused("data_parallel_size_local nnodes", (1,), NO_CLUSTER)
    yield from _refused("prefill_context_parallel_size decode_context_parallel_size", (1,), ONE_DEVICE)
    yield from _refused("data_parallel_rank data_parallel_start_rank node_rank", (0,), NO_CLUSTER)
    yield from _refused(
        "data_parallel_external_lb data_parallel_hybrid_lb data_parallel_multi_port_external_lb",
        OFF,
        NO_CLUSTER,
        "flag",
    )
    yield from _refused("device_ids", EMPTY, "name them with `devices`, such as devices='cuda:0,cuda:1'", "list")
    yield from _ignored(
        "all2all_backend cp_kv_cache_interleave_size cpu_distributed_timeout_seconds data_parallel_address "
        "data_parallel_rpc_port dbo_decode_token_threshold dbo_prefill_token_threshold "
        "dcp_comm_backend dcp_kv_cache_interleave_size distributed_executor_backend distributed_timeout_seconds "
        "dp_sync_interval engine_recovery_timeout eplb_config eplb_step_interval eplb_window_size "
        "expert_placement_strategy external_fault_notify_port fault_tolerance_config gloo_comm_timeout "
        "internal_fault_report_port master_addr master_port max_parallel_loading_workers mm_encoder_tp_mode "
        "num_redundant_experts ubatch_size"
    )
    yield from _ignored("numa_bind_nodes numa_bind_cpus", "list")
    yield from _ignored(
        "dcp_q_replicate disable_nccl_for_dp_synchronization enable_batch_sharded_sampling enable_dbo "
        "enable_elastic_ep enable_ep_weight_filter enable_eplb enable_expert_parallel enable_fault_tolerance "
        "enable_multimodal_encoder_data_parallel enable_nccl_comm_suspend eplb_log_balancedness numa_bind "
        "shutdown_on_fault_tolerance_failure ray_workers_use_nsight worker_use_ray",
        "flag",
    )
    yield from _refused("worker_cls worker_extension_cls scheduler_cls", UNSET, "Millpond's engine has no such part")
    yield from _refused("enable_sleep_mode", OFF, "the weights of a loaded model stay loaded", "flag")
    yield from _refused("afd_config ec_transfer_config kv_events_config kv_transfer_config", EMPTY, NO_TRANSFER)
    yield from _refused("weight_transfer_config", EMPTY, "weights are read once; load the model again to replace them")
    yield from _ignored("ec_manager_config external_parameters")


def _of_files() -> Iterator[Argument]:
    yield Argument(
        name="tokenizer_revision",
        neutral=EMPTY,
        reason="the tokenizer is read from the same revision as the model: pass `revision`",
        equals="revision",
    )
    yield Argument(
        name="code_revision",
        neutral=EMPTY,
        reason="code in a model's folder is read from the same revision as the model: pass `revision`",
        equals="revision",
    )
    yield from _refused("load_format", SAFETENSORS, READS)
    yield from _refused("config_format", ("auto", "hf"), "config.json is read as transformers writes it")
    yield from _refused(
        "tokenizer_mode",
        ("auto", "hf", "fast", "slow"),
        "the tokenizer is read from tokenizer.json or a slow one's files",
    )
    yield from _refused("hf_config_path", EMPTY, "config.json is read from the model's folder: pass `hf_overrides`")
    yield from _refused("model_weights", EMPTY, "weights are read from the model's folder")
    yield from _refused("rope_scaling rope_theta", EMPTY, "pass `hf_overrides`, such as {'rope_theta': 1e6}")
    yield from _refused("disable_sliding_window", OFF, "pass `hf_overrides`, such as {'sliding_window': None}", "flag")
    yield from _refused("override_attention_dtype", UNSET, "attention is computed in `dtype`")
    yield from _refused("model_class_overrides", EMPTY, "a plugin may register the architecture under the same name")
    yield from _refused("quantization_config", EMPTY, "pass `quantization`; config.json names that of a checkpoint")
    yield from _ignored("allow_deprecated_quantization", "flag")
    yield from _ignored(
        "model_loader_extra_config pt_load_map_location quantization_param_path safetensors_load_strategy "
        "safetensors_prefetch_block_size safetensors_prefetch_num_threads tokenizer_pool_extra_config "
        "tokenizer_pool_size tokenizer_pool_type"
    )
    yield from _ignored("served_model_name", takes="engine")
    yield from _ignored("ignore_patterns", "list")
    yield from _ignored("use_tqdm_on_load", "flag")


def _of_prompts() -> Iterator[Argument]:
    yield from _refused("enable_prompt_embeds", OFF, "only False is: a prompt is text or token ids", "flag")
    yield from _refused("interleave_mm_strings", OFF, "the chat template puts the placeholders of images", "flag")
    yield from _refused("language_model_only", OFF, "pass limit_mm_per_prompt={'image': 0} to refuse images", "flag")
    yield from _refused("mm_encoder_only", OFF, "a model is served whole", "flag")
    yield from _refused("media_io_kwargs", _no_images, "images are decoded as RGB; pass `mm_processor_kwargs`")
    yield from _ignored(
        "mm_encoder_fp8_scale_path mm_encoder_fp8_scale_save_margin mm_encoder_fp8_scale_save_path mm_hasher_algorithm "
        "mm_ipc_gpu_memory_gb mm_processor_cache_gb mm_processor_cache_type mm_processor_device "
        "mm_shm_cache_max_object_size_mb mm_tensor_ipc renderer_num_workers video_pruning_method video_pruning_rate"
    )
    yield from _ignored(
        "disable_mm_preprocessor_cache enable_mm_embeds mm_device_do_normalize skip_mm_profiling", "flag"
    )
    # Adapters.
    yield from _refused("enable_lora enable_prompt_adapter", OFF, NO_LORA, "flag")
    yield from _refused("default_mm_loras qlora_adapter_name_or_path", EMPTY, NO_LORA.removeprefix("only False is: "))
    yield from _ignored(
        "long_lora_scaling_factors lora_dtype lora_extra_vocab_size max_cpu_loras max_lora_rank max_loras "
        "max_prompt_adapter_token max_prompt_adapters"
    )
    yield from _ignored("lora_target_modules", "list")
    yield from _ignored(
        "enable_lora_bias enable_mixed_moe_lora_format enable_moe_shared_loras enable_tower_connector_lora "
        "fully_sharded_loras specialize_active_lora",
        "flag",
    )


def _of_generation() -> Iterator[Argument]:
    yield from _refused(
        "diffusion_config spec_method spec_model spec_tokens speculative_config speculative_model "
        "num_speculative_tokens",
        EMPTY,
        NO_GENERATION,
    )
    yield from _refused(
        "enable_return_routed_experts enable_trace_replay return_sampling_mask", OFF, NO_GENERATION, "flag"
    )
    yield from _ignored(
        "generation_config guided_decoding_backend intial_incremental_detokenization_offset logits_processor_pattern "
        "logprobs_mode max_logprobs ngram_prompt_lookup_max ngram_prompt_lookup_min override_generation_config "
        "reasoning_config reasoning_parser reasoning_parser_plugin spec_decoding_acceptance_method "
        "speculative_disable_by_batch_size speculative_draft_tensor_parallel_size speculative_max_model_len "
        "speculative_model_quantization structured_outputs_config typical_acceptance_sampler_posterior_alpha "
        "typical_acceptance_sampler_posterior_threshold"
    )
    yield from _ignored("logits_processors", "list")
    yield from _ignored(
        "disable_logprobs_during_spec_decoding enable_reasoning guided_decoding_disable_additional_properties "
        "guided_decoding_disable_any_whitespace guided_decoding_disable_fallback speculative_disable_mqa_scorer",
        "flag",
    )


def _of_logs() -> Iterator[Argument]:
    yield from _refused("otlp_traces_endpoint", EMPTY, "set OTEL_EXPORTER_OTLP_TRACES_ENDPOINT in the environment")
    yield from _refused("max_num_queued_reqs", EMPTY, "pass `max_waiting_tokens` to bound what may wait")
    yield from _ignored("per_request_spec_decode_metrics profiler_config show_hidden_metrics_for_version")
    yield from _ignored("collect_detailed_traces", "list")
    yield from _ignored(
        "aggregate_engine_logging cudagraph_metrics disable_log_requests disable_log_stats "
        "enable_layerwise_nvtx_tracing enable_log_requests enable_logging_iteration_details enable_mfu_metrics "
        "enable_mm_processor_stats fail_on_environ_validation",
        "flag",
    )
    yield from _refused("tokens_only", OFF, "every route is served; --reject-token-ids refuses token ids", "flag")
    yield from _ignored("shutdown_timeout _api_process_count _api_process_rank", takes="engine")


def _of_server() -> Iterator[Argument]:
    """Yield the options of ``vllm serve`` that are not arguments of its engine."""
    yield from _refused("lora_modules", EMPTY, NO_LORA.removeprefix("only False is: "), "list", takes="server")
    yield from _refused("middleware", EMPTY, "a plugin may add routes: --routes PLUGIN", "list", takes="server")
    yield from _refused("config", EMPTY, "write the options on the command line", takes="server")
    yield from _refused("headless grpc", OFF, "models are served over HTTP by one process", "flag", takes="server")
    yield from _refused("ssl_ciphers", EMPTY, "the ciphers are those of Python's ssl module", takes="server")
    yield from _refused(
        "default_chat_template_kwargs", EMPTY, "write the values into the template, --chat-template", takes="server"
    )
    yield from _ignored(
        "allowed_headers allowed_methods api_server_count chat_template_content_format cohere_format "
        "data_parallel_supervisor_port disable_access_log_for_endpoints dp_supervisor_probe_failure_threshold "
        "dp_supervisor_probe_interval_s dp_supervisor_probe_timeout_s fingerprint_mode fingerprint_value "
        "h11_max_header_count h11_max_incomplete_event_size log_config_file max_log_len response_role tool_call_parser "
        "tool_parser_plugin tool_server uvicorn_log_level",
        takes="server",
    )
    yield from _ignored(
        "allow_credentials cohere_is_reasoning_model disable_fastapi_docs disable_frontend_multiprocessing "
        "disable_uvicorn_access_log enable_auto_tool_choice enable_flash_late_interaction enable_force_include_usage "
        "enable_log_deltas enable_log_outputs enable_offline_docs enable_per_request_metrics "
        "enable_prompt_tokens_details enable_request_id_headers enable_server_load_tracking enable_ssl_refresh "
        "enable_tokenizer_info_endpoint exclude_tools_when_tool_choice_none log_error_stack return_tokens_as_token_ids",
        "flag",
        takes="server",
    )


ARGUMENTS: Final[Mapping[str, Argument]] = {row.name: row for row in _rows()}
"""The arguments of vLLM that have no effect or are refused, by name."""

RENAMED: Final[Mapping[str, str]] = {"max_num_queued_tokens": "max_waiting_tokens"}
"""Arguments with a different name and the same meaning in Millpond."""

ATTENTION_BACKENDS: Final = (
    "CUTLASS_MLA FLASHINFER FLASHINFER_MLA FLASHMLA FLASH_ATTN FLASH_ATTN_DIFFKV FLASH_ATTN_MLA FLEX_ATTENTION "
    "ROCM_AITER_FA ROCM_AITER_UNIFIED_ATTN ROCM_ATTN TORCH_SDPA TREE_ATTN TRITON_ATTN TRITON_MLA XFORMERS"
)
"""The names of vLLM's implementations of attention, which are ignored."""

SHORT_OPTIONS: Final[Mapping[str, str]] = {
    "-ac": "--attention-config",
    "-asc": "--api-server-count",
    "-cc": "--compilation-config",
    "-dcp": "--decode-context-parallel-size",
    "-dp": "--data-parallel-size",
    "-dpa": "--data-parallel-address",
    "-dpb": "--data-parallel-backend",
    "-dpe": "--data-parallel-external-lb",
    "-dph": "--data-parallel-hybrid-lb",
    "-dpl": "--data-parallel-size-local",
    "-dpn": "--data-parallel-rank",
    "-dpp": "--data-parallel-rpc-port",
    "-dpr": "--data-parallel-start-rank",
    "-ep": "--enable-expert-parallel",
    "-O": "--optimization-level",
    "-pcp": "--prefill-context-parallel-size",
    "-pp": "--pipeline-parallel-size",
    "-q": "--quantization",
    "-sc": "--speculative-config",
    "-tp": "--tensor-parallel-size",
}
"""Short options of ``vllm serve``."""


def engine_argument(name: str) -> Argument | None:
    """Return an argument of ``LLM`` by name; None if it is unknown."""
    argument = ARGUMENTS.get(name)
    return None if argument is None or argument.takes == "server" else argument


def is_attention_backend(value: object) -> bool:
    """Return True if a value of ``attention_backend`` names an implementation of vLLM."""
    return str(getattr(value, "name", value)).upper() in ATTENTION_BACKENDS.split()


def option(name: str) -> tuple[Argument, bool] | None:
    """Return the argument of an option, and False for its negation ``--no-...``; None if the option is unknown."""
    key = name.removeprefix("--").replace("-", "_")
    argument = ARGUMENTS.get(key)
    if argument is not None:
        return None if argument.takes == "engine" else (argument, True)
    argument = ARGUMENTS.get(key.removeprefix("no_"))
    return (argument, False) if argument is not None and argument.form == "flag" else None


def value_of(text: str) -> object:
    """Return the value of the text of an option: JSON, None, or the text itself."""
    if text == "None":
        return None
    try:
        return json.loads(text)
    except (ValueError, RecursionError):
        return {"True": True, "False": False}.get(text, text)


def options() -> list[str]:
    """Return the options of ``vllm serve`` that have no effect or are refused."""
    return [row.option for row in ARGUMENTS.values() if row.takes != "engine"]
