"""Synthetic abdominal CTs of two sites, with exact truth: for training the starter, demos and tests."""
