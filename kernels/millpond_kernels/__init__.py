"""Implementations of the ops that models ask for. Each op has one in plain torch that the others are held against."""
