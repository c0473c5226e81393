"""Container images: what is in them, how they are built, proven and handed over."""
