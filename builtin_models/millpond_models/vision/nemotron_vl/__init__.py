"""Llama Nemotron VL."""
