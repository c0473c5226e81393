"""Bounds of a release: fitted on the site's own cases, audited at random."""
