"""What is said of a segmented study: findings that cannot be, flags and why, places to review, the order."""
