"""What people are told without looking: what waits for them, grouped, once each, and nobody's name in it."""
