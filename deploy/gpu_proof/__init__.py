"""The first run on a GPU: everything the GPU target does, once, and one line of each step."""
