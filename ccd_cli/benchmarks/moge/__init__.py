"""MoGe's bundle of ten sets: its samples, its depth PNG and its view of a sample."""
