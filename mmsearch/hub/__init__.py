"""Getting models, keeping them whole, and judging them. ``fetch`` is the only module that opens a connection."""
