"""Tests of segmentation, compared with a plain torch model that has the same weights."""

import base64
import io
from itertools import pairwise

import httpx
import numpy as np
import pytest
import torch
from millpond_segmentation.tiles import TileGrid
from millpond_segmentation.tiny import CONFIG
from PIL import Image
from plain_segmenter import PlainSegmenter
from safetensors.torch import load_file
from torch.nn.functional import pad

from millpond import LLM, InvalidInputError, PoolingParams
from millpond.testing.checkpoints import tiny
from millpond.testing.conformance import ArchitectureConformance, IOProcessorConformance
from millpond_server.testing import running_server

TILE, PATCH, OVERLAP = CONFIG["tile_size"], CONFIG["patch_size"], CONFIG["tile_overlap"]
LABELS = list(CONFIG["id2label"].values())
SIZES = ((16, 16), (40, 29), (5, 70), (1, 1), (16, 17))
MIN_MARGIN = 1e-3  # rounding may change the class of pixels whose two best scores differ by less


def random_image(height, width, seed=0):
    """Return random pixels, [height, width, 3]."""
    return np.random.default_rng(seed).integers(0, 256, (height, width, 3), dtype=np.uint8)


def as_base64(image, kind="PNG"):
    """Return the base64 of an image file."""
    content = io.BytesIO()
    Image.fromarray(image).save(content, format=kind)
    return base64.b64encode(content.getvalue()).decode()


def read_mask(data):
    """Return the pixels of a mask in base64."""
    with Image.open(io.BytesIO(base64.b64decode(data))) as mask:
        assert (mask.format, mask.mode) == ("PNG", "L")
        return np.asarray(mask)


# --- the reference ----------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """A tiny checkpoint."""
    return tiny("PatchSegmenter", tmp_path_factory.mktemp("models") / "segmenter", seed=3)


@pytest.fixture(scope="module")
def plain(folder):
    """The plain model with the weights of the checkpoint."""
    model = PlainSegmenter(CONFIG).eval()
    model.load_state_dict(load_file(folder / "model.safetensors"))
    return model


@pytest.fixture(scope="module")
def llm(folder):
    """The model in Millpond; small batches, so that an image needs several."""
    with LLM(str(folder), num_workers=2, max_num_batched_tokens=64) as llm:
        yield llm


def expected_scores(plain, image, overlap):
    """Return the scores of an image, [num_classes, height, width]: tile by tile, one addition per pixel and tile."""
    height, width = image.shape[:2]
    mean, std = (torch.tensor(CONFIG[name]) for name in ("image_mean", "image_std"))
    pixels = ((torch.from_numpy(image) / 255 - mean) / std).permute(2, 0, 1)
    pixels = pad(pixels, (0, max(TILE - width, 0), 0, max(TILE - height, 0)), mode="replicate")
    total, count = torch.zeros(len(LABELS), *pixels.shape[1:]), torch.zeros(pixels.shape[1:])
    for row in tile_starts(pixels.shape[1], overlap):
        for column in tile_starts(pixels.shape[2], overlap):
            window = (slice(row, row + TILE), slice(column, column + TILE))
            with torch.inference_mode():
                total[:, *window] += plain(pixels[None, :, *window])[0]
            count[window] += 1
    return (total / count)[:, :height, :width]


def tile_starts(length, overlap):
    """Return the first pixel of each tile along a side."""
    starts = [0]
    while starts[-1] + TILE < length:
        starts.append(min(starts[-1] + TILE - overlap, length - TILE))
    return starts


def demand_mask(mask, scores):
    """Fail unless the mask has the best class of each pixel."""
    first, second = scores.topk(2, dim=0).values
    is_clear = (first - second > MIN_MARGIN).numpy()
    assert is_clear.mean() > 0.95
    np.testing.assert_array_equal(mask[is_clear], scores.argmax(0).numpy()[is_clear])


def segment(llm, *items, params=None):
    """Return the outputs of items."""
    outputs = llm.encode([{"data": item} for item in items], params, pooling_task="plugin", use_tqdm=False)
    return [output.outputs for output in outputs]


# --- results ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("overlap", [OVERLAP, 0, 8])
def test_masks_equal_those_of_the_plain_model(llm, plain, overlap):
    """Images of several sizes share the batches of one call."""
    images = [random_image(*size) for size in SIZES]
    items = [{"data": image, "out_data_format": "array"} for image in images]
    outputs = segment(llm, *items, params=PoolingParams(extra_kwargs={"overlap": overlap}))
    for image, output in zip(images, outputs, strict=True):
        assert output.data.shape == image.shape[:2]
        demand_mask(output.data, expected_scores(plain, image, overlap))


def test_the_overlap_of_the_config_is_the_default(llm, plain):
    """With ``tile_overlap`` of config.json, the same mask as with the option."""
    image = random_image(40, 29)
    default, zero = (
        segment(llm, {"data": image, "out_data_format": "array"}, params=params)[0].data
        for params in (None, PoolingParams(extra_kwargs={"overlap": 0}))
    )
    demand_mask(default, expected_scores(plain, image, OVERLAP))
    assert not np.array_equal(default, zero)


def test_base64_and_arrays_have_the_same_mask(llm):
    """The mask is a PNG with one channel, and the numbers of pixels are those of the mask."""
    image = random_image(40, 29)
    encoded, array = segment(llm, {"data": as_base64(image)}, {"data": image, "out_data_format": "array"})
    assert (encoded.type, encoded.format, array.type) == ("b64_json", "png", "array")
    np.testing.assert_array_equal(read_mask(encoded.data), array.data)
    counts = np.bincount(array.data.ravel(), minlength=len(LABELS)).tolist()
    assert encoded.pixels == array.pixels == dict(zip(LABELS, counts, strict=True))


def test_a_server_returns_masks_as_json(folder, llm):
    """``POST /pooling`` has the fields of vLLM's geospatial example; ``extra_kwargs`` contains options."""
    image = as_base64(random_image(40, 29), "JPEG")
    item = {"data": image, "data_format": "b64_json", "out_data_format": "b64_json"}
    (expected,) = segment(llm, item, params=PoolingParams(extra_kwargs={"overlap": 8}))
    with running_server(folder) as server:
        body = {"model": "segmenter", "data": item, "extra_kwargs": {"overlap": 8}}
        response = httpx.post(f"{server.url}/pooling", json=body)
        assert response.status_code == 200
        assert response.json()["data"] == {
            "type": "b64_json",
            "format": "png",
            "data": expected.data,
            "pixels": expected.pixels,
        }
        refused = httpx.post(f"{server.url}/v1/embeddings", json={"model": "segmenter", "input": "tea"})
        assert refused.status_code == 404
        assert "those here serve plugin" in refused.json()["message"]


# --- errors -----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("item", "message"),
    [
        ({"data": "?"}, "the image is not base64"),
        ({"data": as_base64(random_image(4, 4))[:80]}, "the image cannot be read: it is damaged, or its format"),
        ({"data": as_base64(random_image(4, 4), "BMP")}, "is not one of PNG, JPEG"),
        ({"data": as_base64(np.zeros((2049, 2048, 3), np.uint8))}, "must have from 1 to 4194304 pixels"),
        ({"data": np.zeros((4, 4, 4), np.uint8)}, r"must be an array \[height, width, 3\] of uint8; got \[4, 4, 4\]"),
        ({"data": np.zeros((4, 4, 3))}, "of uint8; got .* of float64"),
        ({"data": random_image(4, 4), "out_data_format": "tiff"}, "Unknown out_data_format 'tiff'. Available: b64_jso"),
        ({"data": "https://example.org/a.png", "data_format": "url"}, "Unknown data_format 'url'. Available: b64_json"),
        ({"data": random_image(4, 4), "overlap": 1}, "Unknown field 'overlap'. Available: data, data_format, out"),
        ({"data": np.zeros((4, 2**20, 3), np.uint8)}, "the image has 87381 tiles; the maximum is 1024"),
        ("an image", 'expected {"data": image}'),
    ],
)
def test_invalid_images_are_refused(llm, item, message):
    """The error names the problem; other images of a call are not affected."""
    with pytest.raises(InvalidInputError, match=message):
        segment(llm, item)
    good = {"data": random_image(4, 4)}
    first, second = llm.encode([{"data": good}, {"data": item}], on_error="return", use_tqdm=False)
    assert sum(first.outputs.pixels.values()) == 16
    assert isinstance(second.error, InvalidInputError)


@pytest.mark.parametrize("overlap", [9, -1, "4", 2.0])
def test_an_invalid_overlap_is_refused(llm, overlap):
    """It is at most half of a tile."""
    with pytest.raises(InvalidInputError, match="overlap"):
        segment(llm, {"data": random_image(4, 4)}, params=PoolingParams(extra_kwargs={"overlap": overlap}))


def test_models_for_text_are_refused(tmp_path):
    """The reason is in the error."""
    bert = tiny("BertModel", tmp_path / "bert")
    with LLM(str(bert), io_processor_plugin="segmentation") as llm:
        assert "plugin" not in llm.supported_tasks
        with pytest.raises(InvalidInputError, match="is for models that read tiles"):
            segment(llm, {"data": random_image(4, 4)})


# --- tiles ------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("height", "width"), [(16, 16), (40, 29), (5, 70), (33, 1), (64, 64)])
@pytest.mark.parametrize("overlap", [0, 3, 8])
def test_merging_the_tiles_of_an_image_restores_it(height, width, overlap):
    """Each pixel is in a tile, and neighbours overlap by at least the requested number of pixels."""
    image = random_image(height, width).astype(np.float32)
    grid = TileGrid.of(height, width, tile_size=TILE, overlap=overlap)
    tiles = list(grid.split(image))
    assert len(tiles) == grid.num_tiles
    restored = grid.merge([tile.transpose(2, 0, 1) for tile in tiles])
    np.testing.assert_array_equal(restored.transpose(1, 2, 0), image)
    for starts in (grid.rows, grid.columns):
        assert all(second - first <= TILE - overlap for first, second in pairwise(starts))


# --- conformance ------------------------------------------------------------------------------------------------------

ONE_TILE, THREE_TILES, MANY_TILES = ({"data": random_image(*size)} for size in ((8, 8), (16, 40), (64, 64)))


class TestPatchSegmenter(ArchitectureConformance):
    """The requirements of Millpond's plugin API for the model, through its IO processor."""

    name = "PatchSegmenter"
    reads_tokens = False
    bfloat16 = None  # classes of pixels are equal or not: masks have no tolerance

    def prompts(self, llm):
        """Return images of different sizes."""
        return [{"data": item} for item in (ONE_TILE, THREE_TILES, MANY_TILES)]


class TestSegmentationProcessor(IOProcessorConformance):
    """The requirements for the IO processor."""

    name = "segmentation"
    items = (
        ONE_TILE,
        {**THREE_TILES, "out_data_format": "array"},
        {"data": as_base64(THREE_TILES["data"]), "data_format": "b64_json"},
    )
    chunked = ((ONE_TILE, 1), (THREE_TILES, 3), (MANY_TILES, 25))
    refused = ({}, {"data": 5}, {"data": ONE_TILE["data"][..., :2]}, {**ONE_TILE, "out_data_format": "gif"})

    def checkpoint(self, folder):
        """Write a tiny model."""
        return tiny("PatchSegmenter", folder)
