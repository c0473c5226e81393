"""Networks that others trained: their files read without running them, their weights taken over."""
