"""Triton's own side: its flags, its Python model, the engines of a GPU."""
