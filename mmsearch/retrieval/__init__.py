"""How a question is answered and judged."""
