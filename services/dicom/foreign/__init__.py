"""Bytes that anyone may have sent: listed, opened within bounds, read in a child first."""
