"""Decoded segments to unit vectors. Knows no files of the user's and no catalog."""
