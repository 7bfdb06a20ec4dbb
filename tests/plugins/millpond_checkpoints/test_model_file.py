"""Model files: settings in TOML take precedence over the files of a model; each mistake is reported with its line."""

import pytest

from millpond import LLM, CheckpointError, InvalidInputError, ModelNotFoundError
from millpond.model.options import LoadOptions
from millpond.model.resolve import read_layers
from millpond.model.source import SourceOptions, find_repository
from millpond.testing import checkpoints
from millpond.types.config import PoolerConfig

OPTIONS = SourceOptions()


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    folder = checkpoints.tiny("BertModel", tmp_path_factory.mktemp("models") / "model")
    dense = [checkpoints.DenseLayer(in_features=32, out_features=16)]
    checkpoints.write_sentence_transformers(folder, pooling="cls", dense=dense, prompts={"query": "query: "})
    return folder


@pytest.fixture
def write(folder, tmp_path):
    def write(text="", name=None):
        file = tmp_path / "model.toml"
        file.write_text(f"{text}\n[model]\nname = {str(name or folder)!r}\n")
        return file

    return write


@pytest.fixture
def layers(registry):
    def layers(file, **options):
        return read_layers(registry, find_repository(registry, file, OPTIONS), LoadOptions(**options))

    return layers


def test_a_model_file_may_state_a_few_settings(write, layers, folder):
    read = layers(write("dtype = 'bfloat16'\n[embedding]\ntruncate_dim = 8"))
    assert (read.model.dtype, read.model.embedding.size, read.model.identity.model) == ("bfloat16", 8, str(folder))
    assert read.origin("embedding.truncate_dim") == "model.toml (line 3)"
    assert read.origin("pooler_config.seq_pooling_type") == "1_Pooling/config.json"
    assert read.find("dtype").is_request


def test_the_settings_of_a_model_file_change_its_results(write, folder):
    with LLM(str(folder)) as llm, LLM(str(write("[pooler_config]\nseq_pooling_type = 'MEAN'"))) as edited:
        one, other = (it.embed("a cat")[0].outputs.embedding for it in (llm, edited))
    assert one != other


def test_prompts_of_a_model_file_replace_those_of_the_checkpoint(write, layers):
    assert layers(write("[prompting.prompts]\npassage = 'p: '")).model.prompting.prompts == {"passage": "p: "}
    assert layers(write("[prompting]\nprompts = {}")).model.prompting.prompts == {}


def test_options_of_the_caller_take_precedence_over_a_model_file(write, layers):
    file = write("max_model_len = 20\ndtype = 'bfloat16'\n[pooler_config]\nseq_pooling_type = 'MEAN'")
    model = layers(file, max_model_len=30, dtype="float32", pooler_config=PoolerConfig(seq_pooling_type="LAST")).model
    assert (model.max_model_len, model.dtype, model.pooler_config.seq_pooling_type) == (30, "float32", "LAST")
    assert layers(file).model.max_model_len == 20


@pytest.mark.parametrize(
    ("text", "options"),
    [
        ("[identity]\narchitecture = 'BertModel'", {"convert": "classify"}),
        ("[identity]\narchitecture = 'BertModel'", {"model_impl": "transformers"}),
        ("[embedding]\ntruncate_dim = 8", {"hf_overrides": {"architectures": ["RobertaModel"]}}),
    ],
)
def test_options_that_choose_another_architecture_are_refused(write, layers, text, options):
    (name,) = options
    with pytest.raises(InvalidInputError, match=rf"^{name} cannot be combined with model.toml.*--resolved"):
        layers(write(text), **options)


def test_the_stated_architecture_converter_and_tasks_are_used(write, layers):
    stated = "tasks = ['classify']\n[identity]\narchitecture = 'BertModel'\nconverter = 'classify'"
    read = layers(write(stated))
    assert (read.converter.spec.name, read.implementation, read.tasks) == ("classify", "native", ("classify",))
    assert layers(write("tasks = ['embed']")).tasks == ("embed",)
    with pytest.raises(CheckpointError, match=r"model.toml \(line 1\) states the tasks .*BertModel has: embed, token_"):
        layers(write("tasks = ['classify']"))


def test_nulls_of_config_json_have_a_spelling(write, layers):
    config = (
        "[config]\narchitectures = ['BertModel']\nmodel_type = 'bert'\nlist = [1, {null = true}]\nid = {null = true}"
    )
    with pytest.raises(CheckpointError):  # the architecture has no sizes, so the weights do not fit
        layers(write(f"{config}\nhidden_size = -1"))
    read = layers(write(config))
    assert (read.config["list"], read.config["id"], read.config.get("hidden_size")) == ([1, None], None, None)


@pytest.mark.parametrize(
    ("text", "line", "message"),
    [
        ("[embedding]\n\ntruncated_dim = 8", 3, r"embedding.truncated_dim: .*did you mean embedding.truncate_dim\?"),
        ("embedding = 4", 1, r"embedding: Unknown key"),
        ("[embeddings]\nsize = 4", 1, r"embeddings: Unknown key; did you mean embedding"),
        ("[embedding]\ntruncate_dim = 'x'", 2, r"embedding.truncate_dim: Input should be a valid integer; got 'x'"),
        ("[embedding]\ntruncate_dim = 0", 2, r"embedding.truncate_dim: numbers must be at least 1; got 0"),
        ("embedding.truncate_dim = 1.5", 1, r"embedding.truncate_dim: Input should be a valid integer"),
        ("[embedding]\nsimilarity = 'cos'", 2, r"embedding.similarity: Input should be 'cosine', 'dot'"),
        ("[embedding]\nsize = 4", 2, r"embedding.size: it follows from embedding.full_size, embedding.truncate_dim"),
        ("dtype = 'int8'", 1, r"dtype: expected float32 or float16 or bfloat16; got 'int8'"),
        ("dtype = 2024-01-01", 1, r"dtype: dates and times are not supported"),
        ("tasks = ['embedd']", 1, r"tasks: .*'embedd'.*embed"),
        ("max_model_len = -1", 1, r"max_model_len: numbers must be at least 1"),
        ("[pooler_config]\nseq_pooling_type = 'MEEN'", 2, r"pooler_config.seq_pooling_type: .*'MEEN'.*MEAN"),
        ("[pooler_config]\nlogit_sigma = 0", 1, r"pooler_config: logit_sigma cannot be 0"),
        ("[identity]\nconverter = 'embed'", 1, r"identity: it needs architecture"),
        ("[identity]\nimage_reader = 'os:system'", 2, r"identity.image_reader: Unknown key"),
        ("[multimodal]\nimage_reader = 'os:system'", 2, r"multimodal.image_reader: it follows from identity.arch"),
        ("[files]\nfolder = '/'", 2, r"files.folder: Unknown key"),
        ("[[modules.after]]\ntype = 'Dense'\npath = '../x'\nconfig = {}", 1, r"modules.after: .*not a path inside"),
        ("[[modules.after]]\ntype = 'Dense'\npath = 'x'", 1, r"modules.after: config: Field required"),
        ("[[modules.after]]\ntype = 'Dens'\npath = 'x'\nconfig = {}", 1, r"modules.after: .*'Dens'"),
        ("[retrieval.late_interaction.query]\nlenght = 3", 1, r"retrieval.late_interaction: Unknown key 'lenght'"),
        ("[retrieval.late_interaction.query]\nlength = -3", 1, r"retrieval.late_interaction: numbers must.*got -3"),
        ("[routes.query]\ndtype = 'float32'", 1, r"routes.query: the model has no route of that name"),
        ("[model.sha256]\n'config.json' = 'a'", 1, r"model.sha256: config.json of .* is not the same .*--resolved"),
    ],
)  # fmt: skip
def test_a_mistake_is_reported_with_its_line(write, layers, text, line, message):
    file = write(text) if "[model" not in text else write()
    if "[model" in text:
        file.write_text(f"{text}\n{file.read_text()}")
    with pytest.raises(CheckpointError, match=rf", line {line}: {message}") as caught:
        layers(file)
    assert str(caught.value).startswith(str(file))


def test_a_file_that_is_not_a_model_file_is_refused(tmp_path, layers):
    file = tmp_path / "millpond.toml"
    file.write_text("a = ")
    with pytest.raises(CheckpointError, match=r"is not valid TOML: .*Fix that line"):
        layers(file)
    for text in ("dtype = 'float32'", "model = 'name'", "[model]\nname = 3"):
        file.write_text(text)
        with pytest.raises(CheckpointError, match=r"millpond.toml.*: model"):
            layers(file)
    file.write_bytes(b"\xff")
    with pytest.raises(CheckpointError, match="cannot read"):
        layers(file)


def test_only_existing_toml_files_are_model_files(registry, tmp_path):
    (tmp_path / "folder.toml").mkdir()
    assert find_repository(registry, f"path:{tmp_path}/folder.toml", OPTIONS).path == tmp_path / "folder.toml"
    for name in (f"{tmp_path}/missing.toml", "a" * 5000 + ".toml", "\0.toml", "~unknown-user/a.toml"):
        with pytest.raises(ModelNotFoundError, match=r"no source has the model|must be a folder or an id"):
            find_repository(registry, name, OPTIONS)


def test_a_model_file_that_names_another_model_file_is_refused(registry, write, tmp_path):
    other = tmp_path / "other.toml"
    other.write_text(write().read_text())
    with pytest.raises(ModelNotFoundError, match=r"names '.*other.toml', which names another model"):
        find_repository(registry, str(write(name=other)), OPTIONS)
