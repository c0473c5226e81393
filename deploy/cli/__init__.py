"""The command `organloop`: a file per group of verbs."""
