"""What was written, corrected and decided: the database, and the chain of its events."""
