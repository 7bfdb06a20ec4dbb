"""Text steps of plugins: their order, what they may change, and errors that name them."""

import numpy as np
import pytest
from inspect_kit import inspect

from millpond import LLM
from millpond.plugin.manager import PluginManager
from millpond.testing.checkpoints import tiny
from millpond.types.errors import ComponentError, InvalidInputError, PluginError, UnknownNameError
from millpond_io.plugin import register_text_steps
from millpond_text.kinds import TextStep, TextStepSpec
from millpond_text.steps import ordered_steps

TEXT = "The old Mill"
BUILT_IN = [spec.name for spec in register_text_steps()]


class Shout(TextStep):
    """Adds a word to each text."""

    def on_prompt(self, prompt, call):
        if prompt.text is not None:
            prompt.text += " tea"


class Quieter(TextStep):
    """Cuts the second of two words."""

    def on_prompt(self, prompt, call):
        if prompt.text is not None:
            prompt.text = prompt.text.rpartition(" ")[0]


class Doubled(TextStep):
    """Reads each text twice, as one sequence, and reports it in the vector."""

    def on_tokens(self, job):
        (sequence,) = job.sequences
        sequence.input_ids = np.concatenate([sequence.input_ids, sequence.input_ids])
        job.notes["doubled"] = 2.0

    def on_output(self, output, job):
        return type(output)(output.array * job.notes["doubled"])


class Halves(TextStep):
    """Replaces a sequence by its halves, whose vectors are merged."""

    def on_tokens(self, job):
        (sequence,) = job.sequences
        middle = len(sequence.input_ids) // 2
        job.sequences = tuple(
            type(sequence)(input_ids=ids, representations=sequence.representations, whole=sequence.input_ids)
            for ids in (sequence.input_ids[:middle], sequence.input_ids[middle:])
        )


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return str(tiny("BertModel", tmp_path_factory.mktemp("bert")))


@pytest.fixture
def load(folder):
    models = []

    def load(*records, steps=None, **arguments):
        plugins = PluginManager()
        for number, record in enumerate(records):
            plugins.register(record, plugin=f"addon{number}")
        names = [record.name for record in records] if steps is None else steps
        models.append(LLM(folder, plugins=plugins, text_steps=names, num_workers=1, **arguments))
        return models[-1]

    yield load
    for model in models:
        model.close()


@pytest.fixture(scope="module")
def plain(folder):
    with LLM(folder, num_workers=1) as llm:
        yield llm


def step(name, target, after="named_prompt", **fields):
    return TextStepSpec(name=name, target=target, summary="a step", after=after, **fields)


def vectors(llm, *texts, **options):
    return llm.embed(list(texts), output="array", use_tqdm=False, **options)


def test_a_step_changes_texts(load, plain):
    np.testing.assert_array_equal(vectors(load(step("shout", Shout)), TEXT), vectors(plain, f"{TEXT} tea"))


def test_a_model_that_does_not_name_a_step_does_not_use_it(load, plain):
    np.testing.assert_array_equal(vectors(load(step("shout", Shout), steps=()), TEXT), vectors(plain, TEXT))


def test_a_step_after_the_prompt_sees_it_and_one_before_does_not(load, plain):
    after = vectors(load(step("quieter", Quieter)), "mill", prompt="old ")
    before = vectors(load(step("quieter", Quieter, after="chat_template")), "the mill", prompt="old ")
    np.testing.assert_array_equal(after, vectors(plain, "old"))
    np.testing.assert_array_equal(before, vectors(plain, "old the"))


@pytest.mark.parametrize("reverse", [False, True])
def test_two_plugins_at_one_place_have_the_order_of_their_names(load, plain, reverse):
    records = [step("b", Shout), step("a", Quieter)]
    llm = load(*(records[::-1] if reverse else records))  # the plugins are addon0 and addon1
    expected = f"{TEXT}" if not reverse else "The old tea"
    np.testing.assert_array_equal(vectors(llm, TEXT), vectors(plain, expected))


def test_a_step_may_follow_one_of_another_plugin(load, plain):
    llm = load(step("quieter", Quieter, after="shout"), step("shout", Shout))
    np.testing.assert_array_equal(vectors(llm, TEXT), vectors(plain, TEXT))


def test_built_in_steps_have_the_order_of_their_file():
    assert [entry.spec.name for entry in ordered_steps(PluginManager().registry)] == BUILT_IN


def test_a_circle_is_an_error_that_names_its_steps(load):
    with pytest.raises(PluginError, match=r"text step 'one' of plugin addon0.*-> text step 'two' of plugin addon1"):
        load(step("one", Shout, after="two"), step("two", Quieter, after="one"))


def test_an_unknown_place_is_an_error_that_lists_the_steps(load):
    with pytest.raises(PluginError, match=r"after='named_promt' names no text step\. Available: late_chunk"):
        load(step("shout", Shout, after="named_promt"))


def test_a_step_without_a_place_harms_no_model_that_does_not_name_it(load, plain):
    llm = load(step("one", Shout, after="two"), step("two", Quieter, after="one"), steps=())
    np.testing.assert_array_equal(vectors(llm, TEXT), vectors(plain, TEXT))


def test_an_unknown_step_is_an_error_with_a_suggestion(load):
    with pytest.raises(UnknownNameError, match="Unknown text step 'shoot'"):
        load(step("shout", Shout), steps=["shoot"])


def test_a_step_changes_sequences_and_outputs(load, plain):
    llm = load(step("doubled", Doubled, after="exclude_prompt"))
    (ids,) = (output.prompt_token_ids for output in plain.embed([TEXT], use_tqdm=False))
    np.testing.assert_allclose(vectors(llm, TEXT), 2 * vectors(plain, [*ids, *ids]), rtol=1e-6)


def test_the_results_of_several_sequences_are_merged(load, plain):
    (ids,) = (output.prompt_token_ids for output in plain.embed([TEXT], use_tqdm=False))
    first, second = vectors(plain, ids[: len(ids) // 2], ids[len(ids) // 2 :])
    mean = (first * (len(ids) // 2) + second * (len(ids) - len(ids) // 2)) / len(ids)
    (actual,) = vectors(load(step("halves", Halves, after="pieces")), TEXT)
    np.testing.assert_allclose(actual, mean / np.linalg.norm(mean), rtol=1e-5, atol=1e-6)


def test_only_embed_merges_sequences(load):
    llm = load(step("halves", Halves, after="pieces"))
    with pytest.raises(ComponentError, match=r"set job\.sequences to 2 sequences; only the task 'embed' merges"):
        llm.encode(TEXT, pooling_task="token_embed")


def test_a_step_serves_the_tasks_that_it_names(load, plain):
    llm = load(step("shout", Shout, tasks=("token_embed",)))
    np.testing.assert_array_equal(vectors(llm, TEXT), vectors(plain, TEXT))
    (tokens,) = llm.encode(TEXT, pooling_task="token_embed")
    (expected,) = plain.encode(f"{TEXT} tea", pooling_task="token_embed")
    np.testing.assert_array_equal(tokens.outputs.array, expected.outputs.array)


def test_token_ids_pass_a_step_without_a_text(load, plain):
    np.testing.assert_array_equal(vectors(load(step("shout", Shout)), [5, 6, 7]), vectors(plain, [5, 6, 7]))


class Fails(TextStep):
    def on_prompt(self, prompt, call):
        if "bad" in (prompt.text or ""):
            raise KeyError("bad")


class Refuses(TextStep):
    def on_prompt(self, prompt, call):
        if "bad" in (prompt.text or ""):
            raise InvalidInputError("bad texts are not supported", parameter="prompts")


class ReturnsAPrompt(TextStep):
    def on_prompt(self, prompt, call):
        return prompt


class SetsBytes(TextStep):
    def on_prompt(self, prompt, call):
        prompt.text = b"tea"


class EmptiesSequences(TextStep):
    def on_tokens(self, job):
        job.sequences[0].input_ids = job.sequences[0].input_ids[:0]


class DropsSequences(TextStep):
    def on_tokens(self, job):
        job.sequences = ()


class Forgets(TextStep):
    def on_output(self, output, job):
        del output, job


@pytest.mark.parametrize(
    ("target", "message"),
    [
        (Fails, "text step 'mine' of plugin addon0 failed in on_prompt: KeyError: 'bad'"),
        (ReturnsAPrompt, "on_prompt changes the prompt in place and returns None; it returned a Prompt"),
        (SetsBytes, "on_prompt set prompt.text to a bytes; expected a str"),
        (EmptiesSequences, r"on_tokens left a sequence with input_ids an array \[0\]; expected at least one id"),
        (DropsSequences, "on_tokens set job.sequences to a tuple of 0; expected at least one PoolingRequest"),
        (Forgets, "on_output returned None; expected EmbeddingOutput"),
    ],
)
def test_an_error_of_a_step_names_its_plugin(load, target, message):
    with pytest.raises(ComponentError, match=message) as caught:
        load(step("mine", target)).embed("a bad text")
    assert (caught.value.plugin, caught.value.kind, caught.value.name) == ("addon0", "text_step", "mine")


def test_a_target_must_return_a_step(load):
    llm = load(step("mine", lambda ctx: "no step"))
    with pytest.raises(ComponentError, match="its target returned a str; expected a TextStep, or None"):
        llm.embed(TEXT)


def test_a_function_may_decide_that_the_model_needs_no_step(load, plain):
    np.testing.assert_array_equal(vectors(load(step("mine", lambda ctx: None)), TEXT), vectors(plain, TEXT))


def test_a_step_may_replace_a_built_in_one(load, plain):
    llm = load(step("pieces", Halves, after="pool_tokens", tasks=("embed",)))
    np.testing.assert_allclose(
        vectors(llm, TEXT), vectors(load(step("halves", Halves, after="pieces")), TEXT), rtol=1e-6
    )
    assert len(plain.embed(TEXT)) == 1


@pytest.mark.parametrize("target", [Fails, Refuses])
def test_a_failure_affects_one_prompt(load, plain, target):
    outputs = load(step("mine", target)).embed(["good", "bad", TEXT], on_error="return", use_tqdm=False)
    assert [output.error is None for output in outputs] == [True, False, True]
    expected = vectors(plain, "good", TEXT)
    np.testing.assert_allclose([outputs[0].outputs.array, outputs[2].outputs.array], expected, rtol=1e-5, atol=1e-6)


def test_chunks_are_refused_because_they_are_spans_of_the_callers_text(load):
    llm = load(step("shout", Shout))
    with pytest.raises(InvalidInputError, match="Chunks are spans of the caller's text, which the text step 'shout'"):
        llm.embed_chunks(TEXT, chunk_tokens=2)


def test_the_space_contains_the_steps(load, plain):
    llm = load(step("shout", Shout))
    assert llm.space.descriptor["settings"]["text steps"] == ["shout"]
    assert llm.space_id != plain.space_id


def test_config_json_names_steps(tmp_path, plain):
    plugins = PluginManager()
    plugins.register(step("shout", Shout), plugin="addon")
    folder = tiny("BertModel", tmp_path / "model", text_steps=["shout"])
    with LLM(str(folder), plugins=plugins, num_workers=1) as llm:
        assert llm.model_config.text.steps == ("shout",)
    with LLM(str(folder), plugins=plugins, text_steps=[], num_workers=1) as llm:
        assert llm.model_config.text.steps == ()


def test_text_steps_must_be_names(folder):
    with pytest.raises(InvalidInputError, match="text_steps must be the name of a text step, or a list of"):
        LLM(folder, text_steps=5)


def test_inspect_shows_the_steps(folder):
    result = inspect(folder, "--resolved", "--text-step", "named_prompt")
    assert 'steps = ["named_prompt"]' in result.output
