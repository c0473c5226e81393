"""Proofs: pass or fail, and too long for the suite. ``make proofs`` runs each file here, one line a proof."""
