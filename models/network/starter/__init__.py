"""The release that is shipped: how it was trained on phantoms, and how it is evaluated."""
