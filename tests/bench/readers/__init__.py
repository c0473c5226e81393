"""CT series of every kind, and other programs that read them, held against what is in them."""
