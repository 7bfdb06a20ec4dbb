"""Recipes: descriptions of bulk computations, and the runner that computes them for Arrow tables.

Jobs on one machine and engines for many machines share them. `Runner` needs pyarrow.
"""
