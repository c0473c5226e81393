"""Whether a release answers as it did when it was made: parity of engines, the canary."""
