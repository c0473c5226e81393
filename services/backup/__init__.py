"""Copies of what cannot be made again: records, releases, cases and scores; and bringing them back."""
