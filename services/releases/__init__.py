"""Releases on disk, and what is kept beside them: exports, gate reports, scores, evidence."""
