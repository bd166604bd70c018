"""mmsearch finds photos, sounds, videos and texts by meaning, in an index of your own files."""

__version__ = "0.1.0"
