"""A release taken from one site to another, and the first one of a site brought to serve."""
