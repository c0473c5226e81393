"""Synthetic abdominal CTs of two sites, with exact truth: for training the starter, demos and tests."""

from models.phantom.case import SITES, PhantomCase, make_case

__all__ = ["SITES", "PhantomCase", "make_case"]
