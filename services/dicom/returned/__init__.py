"""A SEG that came back: which result it was made from, and which organ each segment is."""
