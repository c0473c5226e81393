"""A reader looks at a study: what is shown of it, and what an answer is worth."""
