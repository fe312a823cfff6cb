"""Experiment trackers beside TensorBoard: Weights & Biases and MLflow, off unless a recipe asks for them."""
