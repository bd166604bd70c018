"""How `mini` was made. The only package that may need torch to import."""
