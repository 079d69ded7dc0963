"""ChatMusician: train, export and play music language models that read and write ABC notation."""

__version__ = "0.1.0"
