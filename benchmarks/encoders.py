"""How fast is each encoder beside transformers' own class, given batches of as many tokens, sorted by length?

python benchmarks/encoders.py [--short] [--workloads bert,modernbert,...] [--rounds N] [--texts N] [--output FOLDER]

The models are as wide and as deep as MiniLM, every parameter random, and written by transformers. Its class computes
with sdpa where it has that, padded, with all the threads that it takes; what is padded is as little as sorting leaves.
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
from embed_throughput import agreements
from figures import quotients, rates
from models import TOKENIZER_FILES, Model, minilm, whole_or_not_at_all
from settings import Result, Settings, new_result, read_settings, write
from workloads import prose

BRIEF = ("bert", "modernbert")  # of a short run
OURS = ("millpond", "millpond-int8")
COMPARED = 50  # texts whose vectors are compared
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
GATED = {**SIZES, "intermediate_size": 1024}  # as many weights in three maps as the others have in two


@dataclass(frozen=True)
class Family:
    """A kind of encoder.

    Attributes:
        type: Its model_type in transformers.
        config: The sizes of the one that is measured.
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
    """Each family by itself, its contestants in turns."""
    result = new_result(settings)
    known = [family.type for family in FAMILIES]
    if unknown := [name for name in settings.workloads if name not in known]:
        raise SystemExit(f"there is no encoder {', '.join(unknown)}; there are: {', '.join(known)}")
    workload = prose(settings.model.tokenizer, settings.count(500, 100))
    result |= {"workload": workload.name, "texts": len(workload.texts), "tokens": sum(workload.lengths), "rows": []}
    for family in FAMILIES:
        if not settings.wants(family.type) or (settings.short and not settings.workloads and family.type not in BRIEF):
            continue
        with Contest(settings.environments) as contest:
            model = random_model(settings.environments, family)
            contest.enter([*_ours(), TRANSFORMERS], model)
            for said, of in contest.describe().items():
                result[said] = {**of, **result[said]}
            contest.give(workload)
            agreement = agreements(contest.vectors(workload, COMPARED), TRANSFORMERS.name)
            runs = alternate(contest.workers, settings.rounds, "run", family.type, workload=workload.name)
            peers = [run["cpu"] for run in runs[TRANSFORMERS.name]]
            for name, found in runs.items():
                cpu, wall = [run["cpu"] for run in found], [run["wall"] for run in found]
                result["rows"].append(
                    {
                        "encoder": family.type,
                        "architecture": model.config["architectures"][0],
                        "contestant": name,
                        "texts_per_cpu_second": rates(len(workload.texts), cpu).as_dict(),
                        "texts_per_second": rates(len(workload.texts), wall).as_dict(),
                        "times_as_fast": quotients(peers, cpu).as_dict(),
                        "cosine_to_reference": agreement[name],
                    }
                )
    return result


def _ours() -> list[Contestant]:
    """Millpond, told to take means: what a model of no files of sentence-transformers pools by differs by family."""
    means = {"pooler_config": {"seq_pooling_type": "MEAN"}}
    return [BY_NAME[name].given(means) for name in OURS]


def random_model(folder: Path, family: Family) -> Model:
    """A checkpoint that transformers writes, every parameter random, with MiniLM's tokenizer; made once."""
    name = f"{family.type}, random weights"
    target = folder / "models" / f"encoder-{family.type}-{_digest(family)}"
    if not target.exists():
        with whole_or_not_at_all(target) as draft:
            _write(draft, family)
    return Model(name, family.type, target)


def _digest(family: Family) -> str:
    return hashlib.sha256(json.dumps([family.config, SEED], sort_keys=True).encode()).hexdigest()[:8]


def _write(folder: Path, family: Family) -> None:
    import torch  # noqa: PLC0415  needed once
    from transformers import AutoConfig, AutoModel  # noqa: PLC0415  as above

    torch.manual_seed(SEED)
    model: Any = AutoModel.from_config(  # type: ignore[no-untyped-call]
        AutoConfig.for_model(family.type, **family.config)
    )
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            around = 1.0 if parameter.ndim == 1 and name.endswith("weight") else 0.0  # a norm's
            parameter.normal_(around, 0.05)
    model.save_pretrained(folder)
    source = minilm()
    for name in TOKENIZER_FILES:
        if (source.folder / name).exists():
            shutil.copy(source.folder / name, folder / name)


if __name__ == "__main__":
    chosen = read_settings("encoders", __doc__)
    write(measure(chosen), chosen)
