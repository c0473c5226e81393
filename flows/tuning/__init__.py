"""Heads tuned on what readers corrected: planned, taught, published as a candidate."""
