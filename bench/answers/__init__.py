"""The answers of the default question, where users look: in named folders, beside sounds, notes and captions."""
