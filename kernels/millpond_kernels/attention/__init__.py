"""The op `attention`, and the rotary positions of its queries and keys."""
