"""The ray tracer: from descriptions (`Draft`) to linear light, uint8 images and z-depth, batched and deterministic."""
