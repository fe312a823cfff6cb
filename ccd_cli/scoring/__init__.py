"""One prediction against one sample: alignment, scores, and the means over a set. `evaluate` and `distill` score by it."""
