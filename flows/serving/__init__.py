"""Bringing a release to the servers, and proving that they answer as they should."""
