"""Runs a comparison: loads the reference, computes its results, and compares each run of Millpond with them."""

from collections.abc import Mapping, Sequence
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from millpond.llm import LLM
from millpond.loading.arguments import Arguments, read_arguments
from millpond.loading.build import build_model, resolve_model
from millpond.model.model_layers import ModelLayers
from millpond.model.source import find_repository
from millpond.plugin.manager import get_plugin_manager
from millpond.plugin.target import imported
from millpond_checkpoints.file_hashes import file_hashes
from millpond_checkpoints.foreign_reading import check_foreign_reading
from millpond_command.cli import USAGE, CommandError
from millpond_command.progress import Progress
from millpond_verify.agreement import TokenAgreement, compare_files, compare_prompts, compare_settings, compare_tokens
from millpond_verify.certificate import PartReport, RunReport, Verification
from millpond_verify.inputs import Input, build_texts, hash_inputs
from millpond_verify.kinds import Kind, choose_kind
from millpond_verify.measures import compare, default_tolerance, shape_problem
from millpond_verify.millpond_side import applies_activation, prompts_of, run_part, settings_of
from millpond_verify.parts import Part, Reference, Results, Settings, build_parts
from millpond_verify.sentence_reference import ReferenceOptions
from millpond_verify.steps import Steps

if TYPE_CHECKING:
    import torch

FLOAT32 = "float32"
DEFAULT_MAX_TOKENS = 32_768  # static embeddings have no maximum length


@dataclass(frozen=True, kw_only=True)
class Request:
    """A comparison to run.

    Attributes:
        model: The name of the model.
        arguments: The arguments of ``LLM``, without dtype and quantization.
        dtypes: The dtypes; each is a run.
        quantizations: The quantizations; each is a run in float32.
        tolerance: The maximum cosine distance; None for the default of each run.
        reference_model: The name of the model that the reference loads; None for the same one.
        max_tokens: The maximum number of tokens of a text; None for the model's maximum, at most 32,768.
        device: The device.
        num_workers: The number of workers on a CPU.
        trust_remote_code: True if the reference may run code from the model's folder.
    """

    model: str
    arguments: Mapping[str, Any]
    dtypes: Sequence[str]
    quantizations: Sequence[str]
    tolerance: float | None
    reference_model: str | None
    max_tokens: int | None
    device: str
    num_workers: int
    trust_remote_code: bool

    @property
    def options(self) -> dict[str, Any]:
        """The arguments of ``LLM`` that all runs share."""
        return {**self.arguments, "device": self.device}

    @property
    def runs(self) -> list[tuple[str, str | None]]:
        """The dtype and quantization of each run."""
        quantized: list[tuple[str, str | None]] = [(FLOAT32, scheme) for scheme in self.quantizations]
        return [(dtype, None) for dtype in self.dtypes] + quantized


def run_verification(request: Request, steps: Steps) -> Verification:
    """Run a comparison.

    Args:
        request: The comparison.
        steps: Reports the steps.

    Raises:
        CommandError: If there is no reference for the model, or the reference fails.
        ModelNotFoundError: If no source has the model.
    """
    arguments = read_arguments({**request.options, "dtype": request.runs[0][0]})
    layers, device = resolve_model(get_plugin_manager().registry, request.model, arguments)
    kind = choose_kind(layers.model)
    folders = layers.repository.path, _reference_folder(request, layers, arguments)
    steps.begin(f"loading the reference of {request.model}")
    check_foreign_reading(folders[1])
    _check_loads(layers, arguments, device)
    reference = _load_reference(kind, folders[1], layers, request, str(device))
    stated = reference.settings()
    parts = _parts(kind, layers, stated, request.max_tokens)
    runs, tokens = [], None
    with steps.progress(sum(len(part.inputs) for part in parts) * (1 + len(request.runs))) as progress:
        steps.begin(f"computing the inputs with {reference.label}")
        results = [_reference_results(reference, part, progress) for part in parts]
        side = _ReferenceSide(label=reference.label, settings=stated, parts=parts, results=results)
        del reference  # Millpond's model needs the memory
        for dtype, quantization in request.runs:
            steps.begin(f"computing the inputs with Millpond in {quantization or dtype}")
            actual = _compute(request, kind, layers, parts, (dtype, quantization), progress=progress)
            tokens = tokens or _tokens(side, actual)
            tolerance = default_tolerance(dtype, quantization) if request.tolerance is None else request.tolerance
            compared = _compare_parts(kind, layers, side, actual, tolerance)
            runs.append(RunReport(dtype=dtype, quantization=quantization, tolerance=tolerance, parts=compared))
    settings = compare_settings(settings_of(layers, kind), side.settings)
    if kind.takes_prompts:
        settings += compare_prompts(prompts_of(layers), side.settings.prompts)
    hashes = [dict(file_hashes(folder)) for folder in folders]
    return Verification(
        model=request.model,
        architecture=f"{layers.architecture.spec.name}, {layers.implementation}",
        reference=side.label,
        reference_model=request.reference_model or request.model,
        kind=kind.name,
        inputs=_describe(side.parts, tokens),
        settings=settings,
        tokens=tokens,
        runs=runs,
        files=hashes[0],
        file_differences=compare_files(hashes[0], hashes[1], folders),
        device=str(device),
    )


@dataclass(frozen=True, kw_only=True)
class _ReferenceSide:
    """The results of the reference, without its model."""

    label: str
    settings: Settings
    parts: Sequence[Part]
    results: Sequence[Results]


def _reference_folder(request: Request, layers: ModelLayers, arguments: Arguments) -> Path:
    if request.reference_model is None:
        return layers.repository.path
    return find_repository(layers.registry, request.reference_model, arguments.source).path


def _check_loads(layers: ModelLayers, arguments: Arguments, device: "torch.device") -> None:
    """Load the model once, so that the reference is not given sizes and weights that fail these checks."""
    build_model(layers, arguments, device)


def _load_reference(kind: Kind, folder: Path, layers: ModelLayers, request: Request, device: str) -> Reference:
    options = ReferenceOptions(
        device=device, trust_remote_code=request.trust_remote_code, max_length=layers.model.max_model_len
    )
    try:
        reference: Reference = imported(kind.reference)(folder, options)
    except Exception as error:  # the libraries raise any type
        message = f"the reference cannot load {folder}: {type(error).__name__}: {error}"
        hint = "" if request.trust_remote_code else "--trust-remote-code lets the reference run code of the model"
        raise CommandError(message, hint=hint) from error
    return reference


def _parts(kind: Kind, layers: ModelLayers, settings: Settings, max_tokens: int | None) -> list[Part]:
    tokenizer = layers.repository.reader.tokenizer(layers.model.text)
    if tokenizer is None:
        message = f"{layers.repository.path} has no tokenizer, so the built-in texts cannot be computed"
        raise CommandError(message, exit_code=USAGE)
    longest = min(layers.model.max_model_len, max_tokens or DEFAULT_MAX_TOKENS)
    texts = build_texts(tokenizer, longest)
    model = layers.model
    return build_parts(
        kind,
        texts,
        prompt_names=[name for name in prompts_of(layers) if name in settings.prompts and kind.takes_prompts],
        has_input_types=model.retrieval.has_input_types or layers.find("files.routes") is not None,
        has_images="image" in model.multimodal.modalities and "embed" in model.tasks,
    )


def _reference_results(reference: Reference, part: Part, progress: Progress) -> Results:
    results: list[Results] = []
    try:
        for chunk in part.chunks():
            results.append(reference.run(chunk))
            progress.update(len(chunk.inputs))
    except Exception as error:  # the libraries raise any type
        message = f"{reference.label} cannot compute the part {part.name!r}: {type(error).__name__}: {error}"
        raise CommandError(message) from error
    arrays = [array for it in results for array in it.arrays]
    return Results(arrays=arrays, token_ids=[ids for it in results for ids in it.token_ids])


def _compute(
    request: Request,
    kind: Kind,
    layers: ModelLayers,
    parts: Sequence[Part],
    run: tuple[str, str | None],
    *,
    progress: Progress,
) -> list[Results]:
    dtype, quantization = run
    settings: dict[str, Any] = {**request.options, "dtype": dtype, "num_workers": request.num_workers}
    if quantization is not None:
        settings["quantization"] = quantization
    use_activation = applies_activation(kind, layers)
    with closing(LLM(request.model, **settings)) as llm:
        return [run_part(llm, kind, part, use_activation=use_activation, progress=progress) for part in parts]


def _tokens(side: _ReferenceSide, actual: Sequence[Results]) -> TokenAgreement | None:
    """Compare the token ids of the parts for which the reference has them; None if no part has any."""
    compared = [it for it in zip(side.parts, actual, side.results, strict=True) if it[2].token_ids]
    if not compared:
        return None
    inputs = [
        it if part.prompt_name is None else Input(f"{it.label}, prompt {part.prompt_name}", it.data)
        for part, _, _ in compared
        for it in part.inputs
    ]
    ours = [ids for _, results, _ in compared for ids in results.token_ids]
    theirs = [ids for _, _, results in compared for ids in results.token_ids]
    return compare_tokens(ours, theirs, inputs)


def _compare_parts(
    kind: Kind, layers: ModelLayers, side: _ReferenceSide, actual: Sequence[Results], tolerance: float
) -> list[PartReport]:
    similarity = layers.model.embedding.similarity if kind.task == "embed" else "cosine"
    reports: list[PartReport] = []
    for part, ours, theirs in zip(side.parts, actual, side.results, strict=True):
        problem = shape_problem(ours.arrays, theirs.arrays, part.inputs)
        if problem is not None:
            reports.append(PartReport(name=part.name, measures=None, problems=[problem]))
            continue
        measures = compare(kind.results, ours.arrays, theirs.arrays, part.inputs, similarity=similarity)
        reports.append(PartReport(name=part.name, measures=measures, problems=measures.problems(tolerance)))
    return reports


def _describe(parts: Sequence[Part], tokens: TokenAgreement | None) -> dict[str, Any]:
    inputs = [it for part in parts for it in part.inputs]
    longest = None if tokens is None else tokens.longest
    return {"count": len(inputs), "longest_in_tokens": longest, "sha256": hash_inputs(inputs)}
