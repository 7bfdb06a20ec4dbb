"""Millpond Geo: a segmentation model for satellite tiles, and the IO processor that converts its results to masks."""
