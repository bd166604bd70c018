"""Bytes on disk to decoded segments. Knows no models."""
