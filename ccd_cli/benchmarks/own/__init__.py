"""A user's own pairs and clips: what a suite file says, its files, and what is odd about them."""
