"""AutoPyFactory keeps the right number of pilots on every batch queue its admin names."""

__version__ = "3.0.0.dev0"
