"""`organloop doctor`: looks at everything a site needs, and says what to do about what is wrong."""
