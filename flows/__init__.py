"""What is done with a study, a correction, a release: plain functions, and Prefect flows of them."""

import services  # noqa: F401  # before any library that would call out
