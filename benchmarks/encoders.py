"""Measure the throughput of each encoder, compared with the class of transformers.

python benchmarks/encoders.py [--short] [--workloads bert,modernbert,...] [--rounds N] [--texts N] [--output FOLDER]

The models have the width and depth of MiniLM and random parameters, and are written by transformers. Its class runs
padded batches of the same number of tokens as Millpond's, sorted by length to minimise padding, with sdpa if it is
available and the default number of threads.
"""

import hashlib
import json
import shutil
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from contest import Contest, alternate
from contestants import BY_NAME, TRANSFORMERS, Contestant
from embed_throughput import checked_cosines
from figures import quotients, rates
from models import TOKENIZER_FILES, Model, atomic_folder, minilm
from settings import Result, Settings, new_result, read_settings, write
from workloads import prose

SHORT_RUN_ENCODERS = ("bert", "modernbert")
OURS = ("millpond", "millpond-int8")
COMPARED_TEXTS = 50  # texts whose vectors are compared
SEED = 11
SIZES: Mapping[str, Any] = {
    "vocab_size": 30522,
    "hidden_size": 384,
    "num_hidden_layers": 6,
    "num_attention_heads": 12,
    "intermediate_size": 1536,
    "max_position_embeddings": 512,
    "pad_token_id": 0,
}
GATED = {**SIZES, "intermediate_size": 1024}  # three maps with the number of weights of two maps of the others


@dataclass(frozen=True)
class Family:
    """A kind of encoder.

    Attributes:
        type: Its model_type in transformers.
        config: The config of the measured model.
    """

    type: str
    config: Mapping[str, Any] = field(default_factory=lambda: SIZES)


FAMILIES = (
    Family("bert"),
    Family("ernie", {**SIZES, "use_task_id": True}),
    Family("roberta", {**SIZES, "max_position_embeddings": 514}),
    Family("xlm-roberta", {**SIZES, "max_position_embeddings": 514}),
    Family("distilbert", {"dim": 384, "hidden_dim": 1536, "n_layers": 6, "n_heads": 12, "vocab_size": 30522}),
    Family("mpnet", {**SIZES, "max_position_embeddings": 514, "pad_token_id": 1}),
    Family(
        "deberta-v2",
        {
            **SIZES,
            "relative_attention": True,
            "position_buckets": 256,
            "norm_rel_ebd": "layer_norm",
            "share_att_key": True,
            "pos_att_type": ["p2c", "c2p"],
            "position_biased_input": False,
        },
    ),
    Family("modernbert", {**GATED, "layer_types": ["full_attention", *["sliding_attention"] * 2] * 2}),
    Family("nomic_bert", {**GATED, "head_dim": 32}),
    Family("gte", GATED),
    Family("jina_embeddings_v3", SIZES),
    Family("eurobert", {**GATED, "num_key_value_heads": 12, "head_dim": 32}),
)


def measure(settings: Settings) -> Result:
    """Measure the contestants of each family in turns."""
    result = new_result(settings)
    known = [family.type for family in FAMILIES]
    if unknown := [name for name in settings.workloads if name not in known]:
        raise SystemExit(f"Unknown encoder {', '.join(unknown)}. Available: {', '.join(known)}.")
    workload = prose(settings.model.tokenizer, settings.count(500, 100))
    result |= {"workload": workload.name, "texts": len(workload.texts), "tokens": sum(workload.lengths), "rows": []}
    for family in FAMILIES:
        is_default = not settings.short or family.type in SHORT_RUN_ENCODERS
        if not settings.wants(family.type) or not (settings.workloads or is_default):
            continue
        with Contest(settings.environments) as contest:
            model = random_model(settings.environments, family)
            contest.load([*_ours(), TRANSFORMERS], model)
            for key, descriptions in contest.describe().items():
                result[key] = {**descriptions, **result[key]}
            contest.set_workload(workload)
            agreement = checked_cosines(contest.vectors(workload, COMPARED_TEXTS), TRANSFORMERS.name)
            runs = alternate(contest.workers, settings.rounds, "run", family.type, workload=workload.name)
            peer_cpu = [run["cpu"] for run in runs[TRANSFORMERS.name]]
            for name, rounds in runs.items():
                cpu, wall = [run["cpu"] for run in rounds], [run["wall"] for run in rounds]
                result["rows"].append(
                    {
                        "encoder": family.type,
                        "architecture": model.config["architectures"][0],
                        "contestant": name,
                        "texts_per_cpu_second": rates(len(workload.texts), cpu).as_dict(),
                        "texts_per_second": rates(len(workload.texts), wall).as_dict(),
                        "times_as_fast": quotients(peer_cpu, cpu).as_dict(),
                        "cosine_to_reference": agreement[name],
                    }
                )
    return result


def _ours() -> list[Contestant]:
    """Return Millpond with MEAN pooling: the default without files of sentence-transformers differs by family."""
    means = {"pooler_config": {"seq_pooling_type": "MEAN"}}
    return [BY_NAME[name].with_options(means) for name in OURS]


def random_model(folder: Path, family: Family) -> Model:
    """Return a checkpoint with random parameters and MiniLM's tokenizer, written by transformers once."""
    name = f"{family.type}, random weights"
    target = folder / "models" / f"encoder-{family.type}-{_digest(family)}"
    if not target.exists():
        with atomic_folder(target) as draft:
            _write(draft, family)
    return Model(name, family.type, target)


def _digest(family: Family) -> str:
    return hashlib.sha256(json.dumps([family.config, SEED], sort_keys=True).encode()).hexdigest()[:8]


def _write(folder: Path, family: Family) -> None:
    import torch  # noqa: PLC0415  only needed to create the model
    from transformers import AutoConfig, AutoModel  # noqa: PLC0415  as above

    torch.manual_seed(SEED)
    model: Any = AutoModel.from_config(  # type: ignore[no-untyped-call]
        AutoConfig.for_model(family.type, **family.config)
    )
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            mean = 1.0 if parameter.ndim == 1 and name.endswith("weight") else 0.0  # 1 for norms
            parameter.normal_(mean, 0.05)
    model.save_pretrained(folder)
    source = minilm()
    for name in TOKENIZER_FILES:
        if (source.folder / name).exists():
            shutil.copy(source.folder / name, folder / name)


if __name__ == "__main__":
    settings = read_settings("encoders", __doc__)
    write(measure(settings), settings)
