"""A plain torch model of GLiNER with the classes of transformers and torch, one text at a time, without batches."""

import re

import torch
from safetensors.torch import load_file
from tokenizers import Tokenizer
from torch import nn
from transformers import DebertaV2Config, DebertaV2Model

ENCODER = "token_rep_layer.bert_layer.model."
WORD = re.compile(r"\w+(?:[-_]\w+)*|\S")


def projection(size, output_size):
    """Return two linear layers with the names of the checkpoint: 0 and 3."""
    layers = [nn.Linear(size, 4 * output_size), nn.ReLU(), nn.Dropout(0), nn.Linear(4 * output_size, output_size)]
    return nn.Sequential(*layers)


class PlainGliner(nn.Module):
    """Scores of all spans of a text for labels, by the formulas of sections 2 and 3 of arXiv 2311.08526."""

    def __init__(self, folder, config):
        super().__init__()
        self.config = config
        self.tokenizer = Tokenizer.from_file(str(folder / "tokenizer.json"))
        encoder, size = DebertaV2Config(**config["encoder_config"]), config["hidden_size"]
        self.encoder = DebertaV2Model(encoder)
        projects = size != encoder.hidden_size
        self.projection = nn.Linear(encoder.hidden_size, size) if projects else nn.Identity()
        self.lstm = nn.LSTM(size, size // 2, config["num_rnn_layers"], bidirectional=True, batch_first=True)
        self.start, self.end = projection(size, size), projection(size, size)
        self.out, self.label = projection(2 * size, size), projection(size, size)
        self._load(load_file(folder / "model.safetensors"))
        self.eval()

    def _load(self, tensors):
        """Load each module from the tensors with its prefix."""
        prefixes = {
            ENCODER: self.encoder,
            "token_rep_layer.projection.": self.projection,
            "rnn.lstm.": self.lstm,
            "span_rep_layer.span_rep_layer.project_start.": self.start,
            "span_rep_layer.span_rep_layer.project_end.": self.end,
            "span_rep_layer.span_rep_layer.out_project.": self.out,
            "prompt_rep_layer.": self.label,
        }
        for prefix, module in prefixes.items():
            state = {name.removeprefix(prefix): it for name, it in tensors.items() if name.startswith(prefix)}
            module.load_state_dict(state)

    @torch.inference_mode()
    def scores(self, text, labels):
        """Return a dict from (first word, last word, label) to the probability, and the positions of the words."""
        config, words = self.config, [match.span() for match in WORD.finditer(text)]
        parts = [part for label in labels for part in (config["ent_token"], label)] + [config["sep_token"]]
        encoding = self.tokenizer.encode([*parts, *(text[a:b] for a, b in words)], is_pretokenized=True)
        states = self.projection(self.encoder(torch.tensor([encoding.ids])).last_hidden_state)[0]
        first = {word: index for index, word in reversed([*enumerate(encoding.word_ids)]) if word is not None}
        offset = 0 if config.get("embed_ent_token", True) else 1
        label_vectors = self.label(torch.stack([states[first[2 * i] + offset] for i in range(len(labels))]))
        word_vectors = torch.stack([states[first[len(parts) + i]] for i in range(len(words))])
        word_vectors = self.lstm(word_vectors[None])[0][0]
        scores = {}
        for start in range(len(words)):
            for end in range(start, min(start + config["max_width"], len(words))):
                ends = torch.cat([self.start(word_vectors[start]), self.end(word_vectors[end])])
                logits = label_vectors @ self.out(torch.relu(ends))
                scores |= {(start, end, i): float(it) for i, it in enumerate(torch.sigmoid(logits))}
        return scores, words
