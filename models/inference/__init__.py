"""A volume cut into windows, the windows' answers laid together, and what is kept of them."""
