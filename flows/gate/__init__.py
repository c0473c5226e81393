"""Whether a candidate may be promoted: both releases answer the frozen gate set."""
