"""Compressed frames, walked to their end: what is missing is not left to a decoder to fill up."""
