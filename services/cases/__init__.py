"""Cases with truth on disk, and what is learnt from them."""
