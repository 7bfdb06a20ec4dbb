"""Published models that run with classes of transformers, with facts that their files do not contain."""

from millpond.plugin.specs import PublishedModelSpec, RerankTemplate

# https://huggingface.co/MrLight/dse-qwen2-2b-mrl-v1: the last token, which ends each prompt, is pooled.
DSE_QWEN2 = (
    "{{ bos_token or '' }}{% for message in messages %}"
    "{% if loop.first and message['role'] != 'system' %}"
    "<|im_start|>system\nYou are a helpful assistant.<|im_end|>\n{% endif %}"
    "<|im_start|>{{ message['role'] }}\n{% if message['content'] is string %}{{ message['content'] }}{% else %}"
    "{% for part in message['content'] %}{% if part['type'] == 'text' %}{{ part['text'] }}"
    "{% else %}<|vision_start|><|image_pad|><|vision_end|>{% endif %}{% endfor %}{% endif %}<|im_end|>\n"
    "{% endfor %}{% if add_generation_prompt %}<|im_start|>assistant\n{% endif %}<|endoftext|>"
)
# https://huggingface.co/royokong/e5-v: prompts ask to summarize a text or an image in one word. The template writes the
# BOS token, which the tokenizer adds in the original.
E5_V = (
    "{{ bos_token or '' }}{% for message in messages %}<|start_header_id|>user<|end_header_id|>\n\n"
    "{% if message['content'] is string %}{{ message['content'] }}\nSummary above sentence in one word: {% else %}"
    "{% for part in message['content'] %}{% if part['type'] == 'text' %}"
    "{{ part['text'] }}\nSummary above sentence in one word: {% else %}"
    "<image>\nSummary above image in one word: {% endif %}{% endfor %}{% endif %}"
    "<|eot_id|><|start_header_id|>assistant<|end_header_id|>\n\n \n{% endfor %}"
)
# https://huggingface.co/Qwen/Qwen3-VL-Reranker-2B
QWEN3_VL_RERANKER = RerankTemplate(
    pieces=(
        (
            "<|im_start|>system\nJudge whether the Document meets the requirements based on the Query and the Instruct "
            'provided. Note that the answer can only be "yes" or "no".<|im_end|>\n<|im_start|>user\n'
            "<Instruct>: {instruction}<Query>:{query}\n<Document>:{document}<|im_end|>\n<|im_start|>assistant\n"
        ),
    ),
    instruction="Given a search query, retrieve relevant candidates that answer the query.",
    empty="NULL",
    written_marker="<|im_start|>",
    recognized_by={"is_original_qwen3_reranker": True, "model_type": "qwen3_vl"},
)


def _example(name: str, architecture: str) -> PublishedModelSpec:
    return PublishedModelSpec(name=name, architecture=architecture, checkpoint_architecture=architecture)


PUBLISHED = (
    _example("sentence-transformers/gtr-t5-base", "T5EncoderModel"),
    _example("sentence-transformers/paraphrase-albert-small-v2", "AlbertModel"),
    PublishedModelSpec(
        name="MrLight/dse-qwen2-2b-mrl-v1",
        architecture="Qwen2VLForConditionalGeneration",
        checkpoint_architecture="Qwen2VLForConditionalGeneration",
        config={"is_matryoshka": True},
        chat_template=DSE_QWEN2,
    ),
    PublishedModelSpec(
        name="royokong/e5-v",
        architecture="LlavaNextForConditionalGeneration",
        checkpoint_architecture="LlavaNextForConditionalGeneration",
        chat_template=E5_V,
    ),
    PublishedModelSpec(
        name="Qwen/Qwen3-VL-Embedding-*",
        architecture="Qwen3VLForConditionalGeneration",
        checkpoint_architecture="Qwen3VLForConditionalGeneration",
        config={"is_matryoshka": True},
    ),
    PublishedModelSpec(
        name="Qwen/Qwen3-VL-Reranker*",
        architecture="Qwen3VLForConditionalGeneration",
        checkpoint_architecture="Qwen3VLForConditionalGeneration",
        config={
            "architectures": ["Qwen3VLForSequenceClassification"],
            "classifier_from_token": ["no", "yes"],
            "is_original_qwen3_reranker": True,
        },
        rerank_template=QWEN3_VL_RERANKER,
        markers=("Judge whether the Document meets the requirements",),
    ),
    _example("ai21labs/Jamba-tiny-reward-dev", "JambaForSequenceClassification"),
    _example("cross-encoder/ms-marco-electra-base", "ElectraForSequenceClassification"),
    _example("vidore/colpali-v1.3-hf", "ColPaliForRetrieval"),
    _example("vidore/colqwen2-v1.0-hf", "ColQwen2ForRetrieval"),
    _example("ModernVBERT/colmodernvbert-merged", "ColModernVBertForRetrieval"),
)
