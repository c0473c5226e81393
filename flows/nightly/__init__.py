"""Every night: bounds checked, heads tuned, the candidate gated."""
