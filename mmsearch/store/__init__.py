"""The truth (the catalog) and its caches (the vector indexes)."""
