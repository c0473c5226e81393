"""Whether the log and the files it speaks of are as they were recorded."""
