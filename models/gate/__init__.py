"""Whether a candidate may replace the incumbent: evidence, rules, the decision and its report."""
