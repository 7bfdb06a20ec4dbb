"""BERT, RoBERTa and XLM-RoBERTa with classifiers: equal to transformers, with activation and logit scaling."""

import json
from functools import partial

import numpy as np
import pytest
import torch
from model_kit import RAW, load_module, max_difference, run_task, softmax
from safetensors.torch import load_file, save_file

from millpond import CheckpointError, InvalidInputError, PoolingParams
from millpond.nn import Linear, PackedBatch, PoolingMetadata
from millpond.testing.checkpoints import tiny, vocabulary
from millpond.testing.comparisons import random_prompts

VOCABULARY = len(vocabulary("roberta"))
prompts_of = partial(random_prompts, VOCABULARY)
LENGTHS = (1, 2, 3, 64, 5, 8, 63, 13, 1, 21, 34, 47, 2, 64, 30, 7)
FAMILIES = ("Bert", "Roberta", "XLMRoberta")
SEQUENCE = tuple(f"{family}ForSequenceClassification" for family in FAMILIES)
TOKEN = tuple(f"{family}ForTokenClassification" for family in FAMILIES)
TOLERANCE = 1e-5


def task_of(name):
    return "classify" if name in SEQUENCE else "token_classify"


def change_config(folder, **changes):
    path = folder / "config.json"
    path.write_text(json.dumps({**json.loads(path.read_text()), **changes}))
    return folder


def sigmoid(rows):
    return 1 / (1 + np.exp(-rows))


@pytest.fixture(scope="session")
def logits(transformers):
    """The logits of transformers' class of the same name in float32; the weights are loaded strictly."""

    def logits(folder, prompts, *, token_type_ids=None):
        config = transformers.AutoConfig.from_pretrained(folder)
        model = getattr(transformers, config.architectures[0])(config)
        tensors = load_file(folder / "model.safetensors")
        model.load_state_dict({name: tensor.float() for name, tensor in tensors.items()})
        model = model.eval()
        types = token_type_ids or [None] * len(prompts)
        with torch.inference_mode():
            return [
                model(torch.tensor([ids]), token_type_ids=None if kinds is None else torch.tensor([kinds]))
                .logits[0]
                .numpy()
                for ids, kinds in zip(prompts, types, strict=True)
            ]

    return logits


# --- equal to transformers ------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("name", "num_labels"),
    [
        *((name, 3) for name in SEQUENCE + TOKEN),
        ("BertForSequenceClassification", 1),
        ("RobertaForTokenClassification", 2),
    ],
)
def test_a_batch_of_mixed_lengths_equals_transformers(tmp_path, load, logits, name, num_labels):
    folder = tiny(name, tmp_path, num_labels=num_labels)
    prompts = prompts_of(LENGTHS)
    llm = load(folder)
    assert llm.model_config.classification.num_labels == num_labels
    expected = logits(folder, prompts)
    assert {rows.shape[-1] for rows in expected} == {num_labels}
    together = run_task(llm, prompts, task_of(name))
    assert max_difference(together, expected) <= TOLERANCE
    assert max_difference([run_task(llm, prompt, task_of(name))[0] for prompt in prompts], together) <= TOLERANCE


@pytest.mark.parametrize("name", SEQUENCE)
def test_token_classify_applies_the_head_to_every_token(tmp_path, load, name):
    llm = load(tiny(name, tmp_path, num_labels=3))
    prompts = prompts_of((1, 9, 30))
    tokens = run_task(llm, prompts, "token_classify")
    assert [rows.shape for rows in tokens] == [(1, 3), (9, 3), (30, 3)]
    assert max_difference([rows[0] for rows in tokens], run_task(llm, prompts, "classify")) <= TOLERANCE
    assert np.abs(tokens[1][1:] - tokens[1][0]).max() > 0.1


@pytest.mark.parametrize("name", TOKEN)
def test_token_classifiers_serve_no_other_task(tmp_path, load, name):
    llm = load(tiny(name, tmp_path))
    assert llm.model_config.tasks == ("token_classify",)
    with pytest.raises(InvalidInputError, match="Classification API is not supported by this model"):
        llm.classify("the cat")


def test_token_types_equal_transformers(tmp_path, logits):
    folder = tiny("BertForSequenceClassification", tmp_path, num_labels=2)
    prompts = prompts_of((9, 4, 17))
    types = [[0] * 5 + [1] * 4, [0] * 4, [0] * 2 + [1] * 15]
    model = load_module(folder)
    batch = PackedBatch.pack([torch.tensor(ids) for ids in prompts], token_type_ids=[torch.tensor(t) for t in types])
    metadata = PoolingMetadata(lengths=batch.lengths, input_ids=batch.input_ids, params=(RAW,) * 3)
    with torch.inference_mode():
        rows = model.poolers["classify"](model(batch), metadata).numpy()
    assert max_difference(list(rows), logits(folder, prompts, token_type_ids=types)) <= TOLERANCE
    assert max_difference(list(rows), logits(folder, prompts)) > 0.01  # token types have an effect


@pytest.mark.parametrize("name", ["BertForSequenceClassification", "RobertaForTokenClassification"])
@pytest.mark.parametrize("dtype", ["bfloat16", "float16"])
def test_a_16_bit_checkpoint_in_float32_equals_transformers(tmp_path, load, logits, name, dtype):
    folder = tiny(name, tmp_path, dtype=dtype, num_labels=3)
    prompts = prompts_of((1, 20, 64))
    assert (
        max_difference(run_task(load(folder, dtype="float32"), prompts, task_of(name)), logits(folder, prompts))
        <= TOLERANCE
    )


@pytest.mark.parametrize("name", [*SEQUENCE[:2], *TOKEN[:2]])
def test_in_bfloat16_the_head_stays_in_float32(tmp_path, load, logits, name):
    folder = tiny(name, tmp_path, num_labels=3)
    prompts = prompts_of((1, 20, 64))
    model = load_module(folder, dtype="bfloat16")
    kept = {module.dtype for module in model.classifier.modules() if isinstance(module, Linear)}
    assert kept == {torch.float32}
    exact = logits(folder, prompts)
    scale = max(float(np.abs(rows).max()) for rows in exact)
    assert 0 < max_difference(run_task(load(folder, dtype="bfloat16"), prompts, task_of(name)), exact) / scale <= 3e-2


@pytest.mark.parametrize("name", ["BertForSequenceClassification", "BertForTokenClassification"])
def test_int8_is_close_and_does_not_quantize_the_head(tmp_path, load, logits, name):
    folder = tiny(name, tmp_path, num_labels=3, hidden_size=64, intermediate_size=128)
    prompts = prompts_of((3, 20, 64))
    exact = logits(folder, prompts)
    llm = load(folder, quantization="int8")
    scale = max(float(np.abs(rows).max()) for rows in exact)
    assert 0 < max_difference(run_task(llm, prompts, task_of(name)), exact) / scale <= 0.1
    model = load_module(folder, quantization="int8")
    plain = load_module(folder)
    rows = torch.randn(7, 64, generator=torch.Generator().manual_seed(1))
    with torch.inference_mode():
        assert torch.equal(model.classifier(rows), plain.classifier(rows))


@pytest.mark.parametrize("name", ["BertForSequenceClassification", "RobertaForTokenClassification"])
def test_batch_invariant_results_do_not_depend_on_the_batch(tmp_path, load, name):
    llm = load(tiny(name, tmp_path, num_labels=3), batch_invariant=True)
    prompts = prompts_of(LENGTHS)
    alone = [run_task(llm, prompt, task_of(name))[0] for prompt in prompts]
    for order in (slice(None), slice(None, None, -1), slice(3, 9)):
        together = run_task(llm, prompts[order], task_of(name))
        assert all(np.array_equal(one, other) for one, other in zip(together, alone[order], strict=True))


# --- activation and calibration -------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("num_labels", "settings", "activation"),
    [
        (3, {}, softmax),
        (2, {}, softmax),
        (1, {}, sigmoid),
        (3, {"problem_type": "regression"}, lambda rows: rows),
        (1, {"problem_type": "regression"}, lambda rows: rows),
        (3, {"problem_type": "single_label_classification"}, softmax),
        (1, {"problem_type": "single_label_classification"}, sigmoid),
        (3, {"problem_type": "multi_label_classification"}, sigmoid),
        (1, {"sentence_transformers": {"activation_fn": "torch.nn.modules.linear.Identity"}}, lambda rows: rows),
        (1, {"sbert_ce_default_activation_function": "torch.nn.modules.linear.Identity"}, lambda rows: rows),
        (1, {"sbert_ce_default_activation_function": "torch.nn.modules.activation.Softmax"}, sigmoid),
        (3, {"sbert_ce_default_activation_function": "torch.nn.modules.activation.Softmax"}, softmax),
        # sentence-transformers applies an explicit Sigmoid for any number of labels.
        (3, {"sentence_transformers": {"activation_fn": "torch.nn.modules.activation.Sigmoid"}}, sigmoid),
        (1, {"sentence_transformers": {"activation_fn": "torch.nn.modules.activation.Sigmoid"}}, sigmoid),
        (2, {"sentence_transformers": {"activation_fn": "torch.nn.modules.activation.Tanh"}}, np.tanh),
        (
            3,
            {
                "problem_type": "multi_label_classification",
                "sbert_ce_default_activation_function": "torch.nn.modules.linear.Identity",
            },
            sigmoid,
        ),
    ],
    ids=lambda value: getattr(value, "__name__", str(value)),
)
def test_the_activation_is_read_from_the_files(tmp_path, load, num_labels, settings, activation):
    folder = change_config(tiny("BertForSequenceClassification", tmp_path, num_labels=num_labels), **settings)
    llm = load(folder)
    prompts = prompts_of((1, 9, 30))
    for task in ("classify", "token_classify"):
        expected = [activation(rows.astype(np.float64)) for rows in run_task(llm, prompts, task)]
        assert max_difference(run_task(llm, prompts, task, None), expected) <= 1e-6
        assert max_difference(run_task(llm, prompts, task, PoolingParams(use_activation=True)), expected) <= 1e-6


def test_an_activation_from_elsewhere_is_refused(tmp_path, load):
    folder = change_config(
        tiny("BertForSequenceClassification", tmp_path), sbert_ce_default_activation_function="os.system"
    )
    with pytest.raises(CheckpointError, match=r"'os.system'.*restricted to torch.nn.modules"):
        load(folder)


@pytest.mark.parametrize(
    ("config", "mean", "sigma"),
    [
        ({"logit_bias": 2.65}, 2.65, 1),
        ({"logit_mean": -0.5}, -0.5, 1),
        ({"logit_sigma": 0.25}, 0, 0.25),
        ({"logit_mean": 1.5, "logit_sigma": 3.0}, 1.5, 3.0),
    ],
    ids=str,
)
@pytest.mark.parametrize("name", ["BertForSequenceClassification", "BertForTokenClassification"])
def test_logits_are_calibrated_before_the_activation(tmp_path, load, logits, name, config, mean, sigma):
    folder = tiny(name, tmp_path, num_labels=1)
    prompts = prompts_of((1, 9, 30))
    llm = load(folder, pooler_config=config)
    expected = [(rows - mean) / sigma for rows in logits(folder, prompts)]
    assert max_difference(run_task(llm, prompts, task_of(name)), expected) <= 5 * TOLERANCE
    assert (
        max_difference(run_task(llm, prompts, task_of(name), None), [sigmoid(rows) for rows in expected]) <= TOLERANCE
    )


def test_the_pooler_config_may_leave_the_activation_out(tmp_path, load):
    folder = tiny("BertForSequenceClassification", tmp_path, num_labels=3)
    prompts = prompts_of((1, 9))
    raw = run_task(load(folder), prompts, "classify")
    llm = load(folder, pooler_config={"use_activation": False})
    assert max_difference(run_task(llm, prompts, "classify", None), raw) == 0
    assert (
        max_difference(run_task(llm, prompts, "classify", PoolingParams(use_activation=True)), list(map(softmax, raw)))
        <= 1e-6
    )


# --- settings of files and callers ------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("name", "lost", "message"),
    [
        ("BertForSequenceClassification", "bert.pooler.dense.bias", "classifier.dense.bias"),
        ("BertForSequenceClassification", "classifier.weight", "classifier.output.weight"),
        ("RobertaForSequenceClassification", "classifier.dense.weight", "classifier.dense.weight"),
        ("RobertaForSequenceClassification", "classifier.out_proj.bias", "classifier.output.bias"),
        ("BertForTokenClassification", "classifier.bias", "classifier.bias"),
    ],
)
def test_a_missing_tensor_of_the_head_is_named(tmp_path, load, name, lost, message):
    folder = tiny(name, tmp_path)
    tensors = load_file(folder / "model.safetensors")
    assert lost in tensors
    save_file({key: value for key, value in tensors.items() if key != lost}, folder / "model.safetensors")
    with pytest.raises(CheckpointError, match=rf"architecture '{name}': missing \(1\): {message}$"):
        load(folder)


def test_a_head_whose_size_differs_from_config_json_is_refused(tmp_path, load):
    folder = tiny("BertForSequenceClassification", tmp_path, num_labels=3)
    with pytest.raises(
        CheckpointError, match=r"'classifier\.bias': the checkpoint has \[3\], config\.json implies \[4\]"
    ):
        load(folder, hf_overrides={"num_labels": 4})


@pytest.mark.parametrize("name", ["RobertaForSequenceClassification", "BertForTokenClassification"])
def test_the_pooler_of_the_training_is_left_out_where_it_is_not_used(tmp_path, load, name):
    folder = tiny(name, tmp_path)
    prompts = prompts_of((2, 17))
    before = run_task(load(folder), prompts, task_of(name))
    tensors = load_file(folder / "model.safetensors")
    prefix = "bert" if name.startswith("Bert") else "roberta"
    save_file(tensors | {f"{prefix}.pooler.dense.weight": torch.ones(32, 32)}, folder / "model.safetensors")
    assert max_difference(run_task(load(folder), prompts, task_of(name)), before) == 0


@pytest.mark.parametrize("name", ["dimensions", "step_tag_id", "returned_token_ids"])
def test_parameters_of_other_tasks_are_refused_by_name(tmp_path, load, name):
    llm = load(tiny("BertForSequenceClassification", tmp_path))
    params = PoolingParams(**{name: (1,) if name == "returned_token_ids" else 1})
    with pytest.raises(InvalidInputError, match=name) as caught:
        llm.classify("the cat", pooling_params=params)
    assert caught.value.parameter == name


def test_checkpoints_saved_by_transformers_are_loaded(tmp_path, load, transformers):
    torch.manual_seed(4)
    settings = {"hidden_size": 32, "num_hidden_layers": 2, "num_attention_heads": 4, "intermediate_size": 48}
    config = transformers.BertConfig(vocab_size=50, num_labels=3, **settings)
    model = transformers.BertForSequenceClassification(config).eval()
    for parameter in model.parameters():
        parameter.data.add_(torch.randn_like(parameter), alpha=0.1)
    model.save_pretrained(tmp_path)
    prompt = list(range(1, 50, 3))
    with torch.inference_mode():
        expected = model(torch.tensor([prompt])).logits.softmax(-1).numpy()
    (output,) = load(tmp_path).classify([prompt])
    assert max_difference([output.outputs.array], list(expected)) <= TOLERANCE
    assert sum(output.outputs.probs) == pytest.approx(1)
