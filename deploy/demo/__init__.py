"""`make demo`: the whole loop on phantoms; and how the shipped release is made again."""
