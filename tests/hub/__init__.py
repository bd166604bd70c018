"""Getting models: against a server of our own that speaks as the Hugging Face Hub does."""
