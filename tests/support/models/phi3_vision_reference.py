"""A reference of Phi-3-vision in plain torch, from the published description."""

import json
import math

import numpy as np
import torch
import transformers
from PIL import Image
from safetensors.torch import load_file
from tokenizers import Tokenizer
from torch.nn import functional

MEAN = torch.tensor([0.48145466, 0.4578275, 0.40821073]).reshape(3, 1, 1)


STD = torch.tensor([0.26862954, 0.26130258, 0.27577711]).reshape(3, 1, 1)


def squares_of(image, num_crops, side):
    """Return the whole image and its parts, each [3, side, side], and the rows and columns of the parts."""
    upright = image.width < image.height
    if upright:
        image = image.transpose(Image.Transpose.TRANSPOSE)
    ratio = image.width / image.height
    scale = max(n for n in range(1, num_crops + 1) if n == 1 or n * math.ceil(n / ratio) <= num_crops)
    width, height = scale * side, int(scale * side / ratio)
    image = image.resize((width, height), Image.Resampling.BILINEAR)
    missing = math.ceil(height / side) * side - height
    canvas = Image.new("RGB", (width, height + missing), (255, 255, 255))
    canvas.paste(image, (0, int(missing / 2)))
    if upright:
        canvas = canvas.transpose(Image.Transpose.TRANSPOSE)
    values = (torch.from_numpy(np.array(canvas)).permute(2, 0, 1).float() / 255 - MEAN) / STD
    whole = functional.interpolate(values.unsqueeze(0), size=(side, side), mode="bicubic")[0]
    rows, columns = values.shape[1] // side, values.shape[2] // side
    parts = [
        values[:, row * side : (row + 1) * side, column * side : (column + 1) * side]
        for row in range(rows)
        for column in range(columns)
    ]
    return whole, parts, rows, columns


class Reference:
    """The model in plain torch, with transformers' classes for the vision encoder and the decoder."""

    def __init__(self, folder):
        self.config = json.loads((folder / "config.json").read_text())
        self.num_crops = json.loads((folder / "preprocessor_config.json").read_text())["num_crops"]
        self.tokenizer = Tokenizer.from_file(str(folder / "tokenizer.json"))
        tensors = load_file(folder / "model.safetensors")
        images = "model.vision_embed_tokens."
        self.images = {name.removeprefix(images): value for name, value in tensors.items() if name.startswith(images)}
        tower = transformers.CLIPVisionConfig(hidden_act="quick_gelu", **self.config["vision_config"])
        self.vision = transformers.CLIPVisionModel(tower).eval()
        start = "" if "embeddings.class_embedding" in self.vision.state_dict() else "vision_model."
        self.vision.load_state_dict(
            {
                start + name.removeprefix("img_processor.vision_model."): value
                for name, value in self.images.items()
                if name.startswith("img_processor.")
            }
        )
        keys = ("vocab_size", "hidden_size", "intermediate_size", "num_hidden_layers", "num_attention_heads")
        keys += ("max_position_embeddings", "original_max_position_embeddings", "rms_norm_eps", "rope_theta")
        text = {key: self.config[key] for key in (*keys, "num_key_value_heads", "sliding_window")}
        rope = {**self.config["rope_scaling"], "type": "longrope"}
        self.decoder = transformers.Phi3Model(transformers.Phi3Config(**text, rope_scaling=rope, pad_token_id=0)).eval()
        self.decoder.load_state_dict(
            {
                name.removeprefix("model."): value
                for name, value in tensors.items()
                if not name.startswith((images, "lm_head"))
            }
        )

    def lines(self, features, rows, columns):
        """Return lines of concatenated 2 by 2 patches, each followed by a separator."""
        half = features[0].shape[0] // 2
        embeddings = []
        for line in range(rows * half):
            for column in range(columns * half):
                square = features[line // half * columns + column // half]
                top, left = 2 * (line % half), 2 * (column % half)
                four = [square[top + down, left + right] for down in (0, 1) for right in (0, 1)]
                embeddings.append(torch.cat(four))
            embeddings.append(self.images["sub_GN"].flatten())
        return embeddings

    def embeddings_of(self, image):
        """Return the embeddings of an image, [num_rows, hidden_size]."""
        whole, parts, rows, columns = squares_of(image, self.num_crops, self.config["vision_config"]["image_size"])
        pixels = torch.stack([whole, *parts])
        hidden = self.vision(pixel_values=pixels, output_hidden_states=True).hidden_states[-2][:, 1:]
        side = int(hidden.shape[1] ** 0.5)
        features = list(hidden.reshape(len(hidden), side, side, -1))
        one, many = self.lines(features[:1], 1, 1), self.lines(features[1:], rows, columns)
        first, second = (many, one) if self.config["embd_layer"]["hd_transform_order"] == "sub_glb" else (one, many)
        merged = torch.stack([*first, self.images["glb_GN"].flatten(), *second])
        inner = merged @ self.images["img_projection.0.weight"].T + self.images["img_projection.0.bias"]
        outer = functional.gelu(inner) @ self.images["img_projection.2.weight"].T
        return outer + self.images["img_projection.2.bias"]

    @torch.inference_mode()
    def hidden(self, pieces, images, *, special=True):
        """Return the hidden states of a text in pieces, with an image after each piece except the last."""
        table = self.decoder.get_input_embeddings()
        rows = []
        for number, piece in enumerate(pieces):
            ids = self.tokenizer.encode(piece, add_special_tokens=special).ids
            rows.append(table(torch.tensor(ids, dtype=torch.long)))
            rows += [self.embeddings_of(images[number])] if number < len(images) else []
        embeddings = torch.cat(rows).unsqueeze(0)
        return self.decoder(inputs_embeds=embeddings, use_cache=False).last_hidden_state[0].numpy()
