"""`ccd export`: a network for other software, run there and compared before it is announced."""
