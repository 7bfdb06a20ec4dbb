"""Segmentation of large images in tiles: a model that reads no text, and its IO processor."""
