"""Which release serves: promoted, approved, rolled back, declined, and what is kept of it."""
