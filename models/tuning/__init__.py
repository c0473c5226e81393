"""How much of a head is tuned, when climbing ends, which older cases are replayed."""
