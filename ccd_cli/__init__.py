"""ccd: distill, evaluate and use monocular depth models from the command line."""

__version__ = "0.1.0"
