"""The model owner's pages.

- `roles`: who may look at releases, and who decides on them
"""
