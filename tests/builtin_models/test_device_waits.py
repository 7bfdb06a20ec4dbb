"""No model waits for its device while a batch is launched: models run on torch's meta device, which has no values.

There, ``item``, ``tolist``, ``nonzero``, indexing with a mask and copies to the host raise an error: everything whose
result the host would have to wait for. Copies to the device that wait are found by a dispatch mode.
"""

import json
import sys
import traceback

import numpy as np
import pytest
import torch
from torch.overrides import TorchFunctionMode
from torch.utils._python_dispatch import TorchDispatchMode

from millpond import LLM
from millpond.engine.request import PoolingRequest, Representation, SharedPrefix
from millpond.loading import build
from millpond.plugin.manager import PluginManager
from millpond.testing.checkpoints import tiny
from millpond.types.params import PoolingParams
from millpond_models.testing.dual_encoders import tiny_dual_encoder

QUICK = ("BertModel", "ModernBertModel", "Qwen3Model", "BertForSequenceClassification", "NomicBertModel")
WITHOUT_TINY = {  # checkpoints that other tests write by hand; their parts are those of other architectures
    "BertSpladeSparseEmbeddingModel",
    "CLIPModel",
    "ColBERTJinaRobertaModel",
    "ColBERTLfm2Model",
    "ColBERTModernBertModel",
    "HF_ColBERT",
    "InternLM2ForRewardModel",
    "InternLM2Model",
    "Qwen2ForProcessRewardModel",
    "Qwen2ForRewardModel",
    "Siglip2Model",
    "SiglipModel",
    "StaticEmbedding",
}
NAMES = PluginManager(ranks=("builtin",), disabled=()).registry.architectures.names()
SLOW = [pytest.param(name, marks=pytest.mark.slow) for name in NAMES if name not in {*QUICK, *WITHOUT_TINY}]
MOE = {"num_experts": 4, "moe_top_k": 2, "moe_every_n_layers": 2, "activation_function": "gelu"}


class BlockingCopies(TorchDispatchMode):
    """Collects the copies from the host to the device that do not use page-locked memory."""

    def __init__(self):
        super().__init__()
        self.blocking = []

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        result = func(*args, **(kwargs or {}))
        name = func.overloadpacket.__name__
        if name in ("_to_copy", "copy_"):
            source = args[1] if name == "copy_" else args[0]
            if source.device.type == "cpu" and result.device.type == "meta" and not self._is_allowed():
                self.blocking.append(name)
        return result

    @staticmethod
    def _is_allowed():
        frame = sys._getframe()  # noqa: SLF001  faster than the stack of inspect
        while frame is not None:
            if frame.f_code.co_name == "to_device":
                return True
            frame = frame.f_back
        return False


class TensorsOnDevice(TorchFunctionMode):
    """Adds calls of ``torch.tensor`` for the device, which copy without page-locked memory, to a list."""

    def __init__(self, blocking):
        super().__init__()
        self.blocking = blocking

    def __torch_function__(self, func, types, args=(), kwargs=None):
        if func in (torch.tensor, torch.as_tensor) and str((kwargs or {}).get("device")) == "meta":
            self.blocking.append(func.__name__)
        return func(*args, **(kwargs or {}))


@pytest.fixture
def on_meta(monkeypatch):
    """Return a function that loads a checkpoint without the values of its weights."""
    monkeypatch.setattr(build, "_check_loaded", lambda *_: None)  # it counts parameters on the meta device as missing

    def load(folder, **arguments):
        return LLM(str(folder), device="meta", **arguments)

    return load


def launch(llm, *, params=None, prefix=None, lengths=(3, 5, 5, 9), **fields):
    """Launch a batch with all poolers, and return the names of blocking copies to the device."""
    runner = llm._engine.runner  # noqa: SLF001  its parts of a batch that run before results are copied
    kept = params or PoolingParams()
    representations = tuple(Representation(task, kept) for task in runner.model.poolers)
    requests = [
        PoolingRequest(input_ids=np.arange(20, 20 + length), representations=representations, **fields)
        for length in lengths
    ]
    for request in requests:
        request.state.prefix = prefix
    with torch.inference_mode(), BlockingCopies() as copies, TensorsOnDevice(copies.blocking):
        runner._compute(requests)  # noqa: SLF001  as above
    return copies.blocking


@pytest.mark.parametrize("name", [*QUICK, *SLOW])
def test_no_model_waits_for_the_device(on_meta, tmp_path, name):
    with on_meta(tiny(name, tmp_path / "model")) as llm:
        assert launch(llm) == []


@pytest.mark.parametrize("eos", [2, 49], ids=["legacy", "by id"])
def test_text_models_with_an_end_token_do_not_wait(on_meta, tmp_path, eos):
    folder = tiny_dual_encoder("CLIPModel", tmp_path)
    config = json.loads((folder / "config.json").read_text(encoding="utf-8"))
    config["text_config"]["eos_token_id"] = eos
    (folder / "config.json").write_text(json.dumps(config), encoding="utf-8")
    with on_meta(folder) as llm:
        assert launch(llm) == []


def test_dynamic_rotary_embeddings_do_not_wait(on_meta, tmp_path):
    scaling = {"rope_type": "dynamic", "factor": 4.0}
    folder = tiny("Qwen3Model", tmp_path / "model", rope_scaling=scaling, max_position_embeddings=8)
    with on_meta(folder) as llm:
        assert launch(llm, lengths=(3, 9, 20)) == []


def test_sequences_that_share_a_prefix_do_not_wait(on_meta, tmp_path):
    prefix = SharedPrefix(np.arange(20, 22))
    with on_meta(tiny("Qwen3Model", tmp_path / "model")) as llm:
        assert launch(llm, prefix=prefix) == []
        assert prefix.states is not None
        assert launch(llm, prefix=prefix) == []


def test_the_tokens_of_a_step_are_found_on_the_host(on_meta, tmp_path):
    config = {"pooler_config": {"tok_pooling_type": "STEP", "step_tag_id": 21}}
    with on_meta(tiny("Qwen2Model", tmp_path / "model"), **config) as llm:
        assert launch(llm, params=PoolingParams(step_tag_id=21)) == []


SPLADE = {"pooler_config": {"seq_pooling_type": "SPLADE_MAX"}}
WAITS = {
    "the counts of the experts": ("NomicBertModel", MOE, {}, {}, "experts.py"),
    "the number of terms": ("BertForMaskedLM", {}, SPLADE, {"extra_kwargs": {"as_terms": True}}, "sparse.py"),
}


@pytest.mark.parametrize("what", WAITS)
def test_these_models_wait_once(on_meta, tmp_path, what):
    """The exceptions, each at one line: the number of rows depends on values that only the device has."""
    name, overrides, arguments, params, file = WAITS[what]
    with on_meta(tiny(name, tmp_path / "model", **overrides), **arguments) as llm:
        with pytest.raises((RuntimeError, NotImplementedError)) as caught:
            launch(llm, params=PoolingParams(**params))
        assert file in "".join(traceback.format_exception(caught.value))


@pytest.mark.parametrize(
    "wait",
    [
        lambda x: x.sum().item(),
        lambda x: x.tolist(),
        lambda x: x[x > 0],
        lambda x: x.nonzero(),
        lambda x: x.cpu(),
        lambda x: bool((x > 0).any()),
    ],
    ids=["item", "tolist", "mask", "nonzero", "cpu", "bool"],
)
def test_the_meta_device_finds_waits(wait):
    with pytest.raises((RuntimeError, NotImplementedError)):
        wait(torch.ones(3, device="meta"))


@pytest.mark.parametrize(
    "copy", [lambda: torch.ones(3).to("meta"), lambda: torch.tensor([1, 2], device="meta")], ids=["to", "tensor"]
)
def test_the_modes_find_blocking_copies(copy):
    with BlockingCopies() as copies, TensorsOnDevice(copies.blocking):
        copy()
    assert copies.blocking


def test_every_architecture_is_tested_or_listed():
    assert set(NAMES) >= WITHOUT_TINY | set(QUICK)
