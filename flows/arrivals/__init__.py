"""What came to the archive: noticed, complete or not, and which run it becomes."""
