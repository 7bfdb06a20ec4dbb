"""PlainSegmenter: the model in plain torch; its ``state_dict`` is a checkpoint."""

import torch
from torch import nn
from torch.nn.functional import pixel_shuffle, relu


class PlainSegmenter(nn.Module):
    """A transformer over the patches of a tile, and two convolutions over their grid."""

    def __init__(self, config):
        super().__init__()
        size, self.patch_size = config["hidden_size"], config["patch_size"]
        self.patch_embed = nn.Conv2d(config["num_channels"], size, self.patch_size, stride=self.patch_size)
        self.positions = nn.Parameter(torch.zeros((config["tile_size"] // self.patch_size) ** 2, size))
        layer = nn.TransformerEncoderLayer(
            size,
            config["num_attention_heads"],
            config["intermediate_size"],
            activation="gelu",
            batch_first=True,
            norm_first=True,
        )
        self.encoder = nn.TransformerEncoder(
            layer, config["num_hidden_layers"], norm=nn.LayerNorm(size), enable_nested_tensor=False
        )
        self.neck = nn.Conv2d(size, size, 3, padding=1)
        self.head = nn.Conv2d(size, len(config["id2label"]) * self.patch_size**2, 1)

    def forward(self, tiles):
        """[num_tiles, 3, tile_size, tile_size] -> [num_tiles, num_classes, tile_size, tile_size]."""
        grid = self.patch_embed(tiles)
        x = self.encoder(grid.flatten(2).transpose(1, 2) + self.positions)
        x = relu(self.neck(x.transpose(1, 2).unflatten(2, grid.shape[2:])))
        return pixel_shuffle(self.head(x), self.patch_size)
