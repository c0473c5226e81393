"""Whether the site speaks: whether results go to its archive, and what was made while it was silent."""
