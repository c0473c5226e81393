"""Triton: the client, what it is asked and answers, and the repository it serves from."""
