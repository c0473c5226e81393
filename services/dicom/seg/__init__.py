"""Anyone's SEG in: segments as masks on the CT series they refer to."""
