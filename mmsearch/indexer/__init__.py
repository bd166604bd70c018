"""How a corpus becomes searchable."""
