"""Choice of the architecture and converter for unregistered names, and the classification settings of models."""

import json
import re
import subprocess
import sys

import pytest

from millpond import LLM
from millpond.model.layers import Layer, Layers
from millpond.model.repository import Repository
from millpond.plugin.manager import PluginManager
from millpond.plugin.specs import ArchitectureSpec, ConverterSpec
from millpond.testing import checkpoints
from millpond.types.config import CheckpointConfig
from millpond.types.errors import CheckpointError, UnknownNameError
from millpond_formats.transformers.architecture import choose_architecture
from millpond_formats.transformers.labels import choose_activation, count_labels, read_labels

PLAIN = Layers()


@pytest.fixture
def registry():
    """One family, "Mill", registered with its backbone, and converters like the built-in ones."""
    manager = PluginManager(ranks=())
    for spec in (
        ArchitectureSpec(name="MillModel", target=object(), tasks=("embed",)),
        ArchitectureSpec(name="PondForScoring", target=object(), tasks=("classify",)),
        ArchitectureSpec(name="RawForCausalLM", target=object(), tasks=()),
        ConverterSpec(
            name="embed", target=object(), architectures=("*Model", "*ForCausalLM"), tasks=("embed", "token_embed")
        ),
        ConverterSpec(
            name="classify", target=object(), architectures=("*ForSequenceClassification",), tasks=("classify",)
        ),
        ConverterSpec(
            name="rewards", target=object(), architectures=("*Model", "*RewardModel"), tasks=("token_classify",)
        ),
        ConverterSpec(
            name="steps", target=object(), architectures=("*ForCausalLM",), tasks=("token_classify",), pooling=("STEP",)
        ),
    ):
        manager.register(spec)
    return manager.registry


def chosen(registry, name, convert="auto", **more):
    match = choose_architecture(registry, CheckpointConfig({"architectures": [name]}), convert, **more)
    converter = None if match.converter is None else match.converter.spec.name
    return match.architecture.spec.name, converter, (match.converter or match.architecture).spec.tasks


@pytest.mark.parametrize(
    ("name", "convert", "more", "expected"),
    [
        ("MillModel", "auto", {}, ("MillModel", None, ("embed",))),
        ("MillModel", "embed", {}, ("MillModel", None, ("embed",))),
        ("MillModel", "classify", {}, ("MillModel", "classify", ("classify",))),
        ("MillModel", "auto", {"classifies": True}, ("MillModel", "classify", ("classify",))),
        ("MillModel", "none", {"classifies": True}, ("MillModel", None, ("embed",))),
        ("MillForCausalLM", "auto", {}, ("MillModel", "embed", ("embed", "token_embed"))),
        ("MillForCausalLM", "auto", {"pooling": "MEAN"}, ("MillModel", "embed", ("embed", "token_embed"))),
        ("MillForCausalLM", "auto", {"pooling": "STEP"}, ("MillModel", "steps", ("token_classify",))),
        ("MillForCausalLM", "classify", {}, ("MillModel", "classify", ("classify",))),
        ("MillForSequenceClassification", "auto", {}, ("MillModel", "classify", ("classify",))),
        ("MillForRewardModel", "auto", {}, ("MillModel", "rewards", ("token_classify",))),
        ("PondForScoring", "auto", {"classifies": True}, ("PondForScoring", None, ("classify",))),
        ("RawForCausalLM", "auto", {}, ("RawForCausalLM", "embed", ("embed", "token_embed"))),
    ],
)  # fmt: skip
def test_a_name_finds_its_backbone_and_its_converter(registry, name, convert, more, expected):
    assert chosen(registry, name, convert, **more) == expected


def test_an_unrelated_name_is_refused_with_the_available_ones(registry):
    for name, convert in (("OtherForCausalLM", "auto"), ("MillForCausalLM", "none"), ("Mill", "auto")):
        with pytest.raises(UnknownNameError, match=f"Unknown architecture '{name}'. Available: .*MillModel"):
            chosen(registry, name, convert)
    with pytest.raises(UnknownNameError, match=r"Unknown converter .nonsense."):
        chosen(registry, "MillModel", "nonsense")


@pytest.mark.parametrize(
    ("config", "labels"),
    [
        ({}, 2),
        ({"num_labels": 5}, 5),
        ({"id2label": {"0": "a", "1": "b", "2": "c"}}, 3),
        ({"id2label": {"0": "a"}, "num_labels": 1}, 1),
        ({"text_config": {"num_labels": 4}}, 4),
        ({"num_labels": 3, "text_config": {"num_labels": 4}}, 3),
        ({"classifier_from_token": ["no", "yes"], "is_original_qwen3_reranker": True, "num_labels": 7}, 1),
        ({"classifier_from_token": ["no", "yes"], "method": "from_2_way_softmax"}, 1),
        ({"classifier_from_token": ["a", "b", "c"], "method": "no_post_processing"}, 3),
        ({"classifier_from_token_ids": [7]}, 1),
    ],
)
def test_labels_are_counted(config, labels):
    assert count_labels(CheckpointConfig(config), PLAIN) == labels


@pytest.mark.parametrize(
    ("config", "number", "names"),
    [
        ({"id2label": {"1": "joy", "0": "grief"}}, 2, ("grief", "joy")),
        ({"text_config": {"id2label": {"0": "a"}}}, 1, ("a",)),
        ({"id2label": {"0": "a", "1": "b"}, "text_config": {"id2label": {"0": "c"}}}, 1, ("c",)),
        ({"id2label": {"0": "a", "2": "c"}}, 2, ("a", "LABEL_1")),
        ({"id2label": {"0": "a", "1": "b"}}, 1, None),
        ({}, 2, None),
        ({"id2label": ["a"]}, 0, None),
    ],
)
def test_names_of_labels_are_read_where_the_config_names_as_many(config, number, names):
    assert read_labels(CheckpointConfig(config), number) == names


def test_the_last_dense_module_of_a_cross_encoder_sets_num_labels(tmp_path):
    folder = checkpoints.tiny("BertModel", tmp_path)
    checkpoints.write_sentence_transformers(
        folder, normalize=False, dense=[checkpoints.DenseLayer(in_features=32, out_features=6)]
    )
    settings = folder / "config_sentence_transformers.json"
    for kind, expected in (("CrossEncoder", 6), ("SentenceTransformer", 2)):
        settings.write_text(json.dumps({"model_type": kind}))
        files = Repository("model", folder, "path").layers
        assert count_labels(CheckpointConfig({"num_labels": 2}), files) == expected


def naming(activation_fn=None):
    """The layers of a checkpoint that names an activation."""
    path = "classification.activation"
    return Layers((Layer("config_sentence_transformers.json", {path: activation_fn}, {path: "activation_fn"}),))


ACTIVATIONS = "torch.nn.modules.activation."


@pytest.mark.parametrize(
    ("config", "files", "labels", "expected"),
    [
        ({}, {}, 1, ("sigmoid", "default")),
        ({}, {}, 3, ("softmax", "default")),
        ({"problem_type": "regression"}, {}, 1, ("identity", "config.json (problem_type)")),
        ({"problem_type": "single_label_classification"}, {}, 1, ("sigmoid", "config.json (problem_type)")),
        ({"problem_type": "single_label_classification"}, {}, 2, ("softmax", "config.json (problem_type)")),
        ({"problem_type": "multi_label_classification"}, {}, 4, ("sigmoid", "config.json (problem_type)")),
        (
            {"problem_type": "regression", "sbert_ce_default_activation_function": ACTIVATIONS + "Sigmoid"},
            {},
            1,
            ("identity", "config.json (problem_type)"),
        ),
        (
            {"sbert_ce_default_activation_function": "torch.nn.modules.linear.Identity"},
            {},
            1,
            ("identity", "config.json (sbert_ce_default_activation_function)"),
        ),
        (
            {"sentence_transformers": {"activation_fn": ACTIVATIONS + "Sigmoid"}},
            {"activation_fn": "torch.nn.modules.linear.Identity"},
            3,
            ("sigmoid", "config.json (sentence_transformers.activation_fn)"),
        ),
        (
            {},
            {"activation_fn": "torch.nn.modules.linear.Identity"},
            3,
            ("identity", "config_sentence_transformers.json (activation_fn)"),
        ),
        (
            {},
            {"activation_fn": ACTIVATIONS + "Softmax"},
            1,
            ("sigmoid", "config_sentence_transformers.json (activation_fn)"),
        ),
        ({}, {"activation_fn": ACTIVATIONS + "Tanh"}, 1, ("tanh", "config_sentence_transformers.json (activation_fn)")),
    ],
)
def test_the_activation_of_classes_and_who_decided_it(config, files, labels, expected):
    path, layer = "classification.activation", choose_activation(CheckpointConfig(config), naming(**files), labels)
    assert (layer.values[path], layer.origin(path)) == expected


def test_an_activation_from_elsewhere_is_refused_unread():
    with pytest.raises(CheckpointError, match=r"restricted to torch\.nn\.modules for security reasons"):
        choose_activation(CheckpointConfig({}), naming("os.system"), 1)


@pytest.mark.parametrize("problem", ["multi_label", "", 1])
def test_a_problem_type_that_is_not_known_is_refused(problem):
    message = (
        "config.json: problem_type must be one of 'regression', 'single_label_classification', "
        f"'multi_label_classification'; got {problem!r}"
    )
    with pytest.raises(CheckpointError, match=re.escape(message)):
        choose_activation(CheckpointConfig({"problem_type": problem}), PLAIN, 3)


def test_more_layers_than_tensors_are_refused_before_they_are_built(tmp_path):
    folder = checkpoints.tiny("BertModel", tmp_path / "model", num_hidden_layers=2)
    config = json.loads((folder / "config.json").read_text())
    (folder / "config.json").write_text(json.dumps({**config, "num_hidden_layers": 10**9}))
    with pytest.raises(
        CheckpointError, match=r"num_hidden_layers=1000000000, but the weights contain only \d+ tensors"
    ):
        LLM(str(folder))


@pytest.mark.slow
def test_an_unknown_model_is_reported_before_torch_is_imported():
    code = (
        "import sys; from millpond import LLM, ModelNotFoundError\n"
        "try: LLM('no/such-model')\n"
        "except ModelNotFoundError: sys.exit('torch' in sys.modules)\n"
        "sys.exit(3)"
    )
    done = subprocess.run([sys.executable, "-c", code], check=False, capture_output=True, text=True, timeout=600)
    assert done.returncode == 0, done.stderr


@pytest.mark.parametrize("name", ["CLIPForImageClassification", "SiglipForImageClassification"])
def test_classifiers_of_images_are_not_served_by_their_dual_encoder(registry, name):
    with pytest.raises(UnknownNameError, match=f"Unknown architecture '{name}'"):
        choose_architecture(registry, CheckpointConfig({"architectures": [name]}), "auto", implementation="native")
