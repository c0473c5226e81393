"""What a reader changed, where it is truth, and which labels are in doubt."""
