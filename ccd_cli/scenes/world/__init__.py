"""Scene content: from a seed to a description (`Draft`) with objects in real sizes, materials, light and a camera."""
