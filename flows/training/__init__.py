"""Whole networks: trained again, or brought in from a public checkpoint."""
