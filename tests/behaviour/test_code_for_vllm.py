"""Test code written for pooling models in current and older versions of vLLM, with only the import replaced."""

import textwrap
import warnings

import pytest
import torch
from reward_kit import internlm_reward, qwen_reward

import millpond
from millpond.testing import checkpoints

HELLO = "the old mill by the pond"


@pytest.fixture(scope="module")
def models(tmp_path_factory):
    """Return a small checkpoint for each model that vLLM's documentation names, with the same architecture."""
    root, tiny = tmp_path_factory.mktemp("models"), checkpoints.tiny
    jina = {"position_embedding_type": "rotary", "hidden_size": 64, "matryoshka_dimensions": [32, 64]}
    folders = {
        "intfloat/e5-small": tiny("BertModel", root / "e5"),
        "jason9693/Qwen2.5-1.5B-apeach": tiny("Qwen2ForSequenceClassification", root / "apeach"),
        "BAAI/bge-reranker-v2-m3": tiny("XLMRobertaForSequenceClassification", root / "bge", num_labels=1),
        "internlm/internlm2-1_8b-reward": internlm_reward(root / "internlm"),
        "Qwen/Qwen2.5-Math-RM-72B": qwen_reward(root / "rm", "Qwen2ForRewardModel", 1),
        "Qwen/Qwen2.5-Math-PRM-7B": qwen_reward(root / "prm", "Qwen2ForProcessRewardModel", 2),
        "peiyi9979/math-shepherd-mistral-7b-prm": tiny("LlamaForCausalLM", root / "shepherd"),
        "intfloat/e5-mistral-7b-instruct": tiny("MistralModel", root / "mistral"),
        "jinaai/jina-embeddings-v3": tiny("XLMRobertaModel", root / "jina", **jina),
    }
    return {name: str(folder) for name, folder in folders.items()}


SNIPPETS = {
    "embed": """
        llm = LLM(model="intfloat/e5-small", runner="pooling")
        (output,) = llm.embed("Hello, my name is")
        embeds = output.outputs.embedding
        print(f"Embeddings: {embeds!r} (size={len(embeds)})")
        """,
    "classify": """
        llm = LLM(model="jason9693/Qwen2.5-1.5B-apeach", runner="pooling")
        (output,) = llm.classify("Hello, my name is")
        probs = output.outputs.probs
        print(f"Class Probabilities: {probs!r} (size={len(probs)})")
        """,
    "score by a cross-encoder": """
        llm = LLM(model="BAAI/bge-reranker-v2-m3", runner="pooling")
        (output,) = llm.score("What is the capital of France?",
                              "The capital of Brazil is Brasilia.")
        score = output.outputs.score
        print(f"Score: {score}")
        """,
    "score by an embedding model": """
        llm = LLM(model="intfloat/e5-small", runner="pooling")
        (output,) = llm.score(
            "What is the capital of France?",
            "The capital of Brazil is Brasilia.",
        )
        score = output.outputs.score
        """,
    "reward": """
        llm = LLM(model="internlm/internlm2-1_8b-reward", runner="pooling", trust_remote_code=True)
        (output,) = llm.reward("Hello, my name is")
        data = output.outputs.data
        print(f"Data: {data!r}")
        """,
    "encode": """
        llm = LLM(model="intfloat/e5-small", runner="pooling")
        (output,) = llm.encode("Hello, my name is", pooling_task="embed")
        data = output.outputs.data
        print(f"Data: {data!r}")
        """,
    "Matryoshka": """
        llm = LLM(
            model="jinaai/jina-embeddings-v3",
            runner="pooling",
            trust_remote_code=True,
        )
        outputs = llm.embed(
            ["Follow the white rabbit."],
            pooling_params=PoolingParams(dimensions=32),
        )
        print(outputs[0].outputs)
        """,
    "process rewards": """
        llm = LLM(
            model="peiyi9979/math-shepherd-mistral-7b-prm",
            pooler_config='{"pooling_type": "STEP", "step_tag_id": 12, "returned_token_ids": [45, 78]}'
        )
        (output,) = llm.reward([[7, 8, 12, 9, 12]])
        data = output.outputs.data
        """,
    "process rewards of Qwen2": """
        llm = LLM(model="Qwen/Qwen2.5-Math-PRM-7B", pooler_config={"step_tag_id": 12})
        (output,) = llm.encode([[7, 8, 12, 9, 12]], pooling_task="token_classify")
        data = output.outputs.data
        """,
}
OLDER_SNIPPETS = {
    "task reward": """
        llm = LLM(model="Qwen/Qwen2.5-Math-RM-72B", task="reward")
        (output,) = llm.encode("Hello, my name is")
        data = output.outputs.data
        """,
    "task embed": """
        llm = LLM(model="intfloat/e5-mistral-7b-instruct", task="embed")
        (output,) = llm.embed("Hello, my name is")
        embeds = output.outputs.embedding
        """,
    "task classify": """
        llm = LLM(model="jason9693/Qwen2.5-1.5B-apeach", task="classify")
        (output,) = llm.classify("Hello, my name is")
        probs = output.outputs.probs
        """,
    "task score": """
        llm = LLM(model="BAAI/bge-reranker-v2-m3", task="score")
        (output,) = llm.score("What is the capital of France?",
                              "The capital of Brazil is Brasilia.")
        score = output.outputs.score
        """,
    "override_pooler_config": """
        llm = LLM(model="intfloat/e5-small",
                  override_pooler_config={"pooling_type": "MEAN", "normalize": True})
        (output,) = llm.embed("Hello, my name is")
        embeds = output.outputs.embedding
        """,
    "convert reward of a reward model": """
        llm = LLM(model="Qwen/Qwen2.5-Math-RM-72B", runner="pooling", convert="reward")
        (output,) = llm.reward("Hello, my name is")
        data = output.outputs.data
        """,
    "task encode of a reward model": """
        llm = LLM(model="Qwen/Qwen2.5-Math-RM-72B", runner="pooling")
        (output,) = llm.encode("Hello, my name is", pooling_task="encode")
        data = output.outputs.data
        """,
    "convert reward": """
        llm = LLM(model="intfloat/e5-small", runner="pooling", convert="reward")
        (output,) = llm.encode("Hello, my name is", pooling_task="encode")
        data = output.outputs.data
        """,
}

REWARDS = (  # one value per token
    "reward",
    "task reward",
    "convert reward of a reward model",
    "task encode of a reward model",
)


def run(snippet, models):
    names = {"PoolingParams": millpond.PoolingParams}
    names["LLM"] = lambda model, **arguments: millpond.LLM(models[model], **arguments)
    exec(compile(textwrap.dedent(snippet), "snippet", "exec"), names)
    names["llm"].close()
    return names


@pytest.mark.parametrize("name", SNIPPETS)
def test_snippets_run_unchanged(models, name):
    check(name, run(SNIPPETS[name], models))


@pytest.mark.parametrize("name", OLDER_SNIPPETS)
def test_code_for_older_versions_runs_unchanged(models, name):
    check(name, run(OLDER_SNIPPETS[name], models))


def check(name, variables):
    if "embeds" in variables:
        assert len(variables["embeds"]) == 32
        assert sum(x * x for x in variables["embeds"]) == pytest.approx(1, abs=1e-5)
    elif "probs" in variables:
        assert sum(variables["probs"]) == pytest.approx(1, abs=1e-5)
    elif "score" in variables:
        assert isinstance(variables["score"], float)
        assert -1 <= variables["score"] <= 1
    elif "outputs" in variables:
        assert repr(variables["outputs"][0].outputs) == "EmbeddingOutput(hidden_size=32)"
    else:
        assert isinstance(variables["data"], torch.Tensor)
        assert variables["data"].dtype == torch.float32
        assert variables["data"].isfinite().all()
        assert variables["data"].shape[-1] == (1 if name in REWARDS else 2 if "process" in name else 32)
    if "process" in name:
        assert variables["data"].shape == (2, 2)
        torch.testing.assert_close(variables["data"].sum(dim=-1), torch.ones(2))


def test_current_names_cause_no_warning(models):
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        run(SNIPPETS["embed"], models)
