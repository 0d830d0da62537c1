"""The command line: one verb a file. It parses, calls the clinic, prints; it never imports torch to say what it can do."""

from unvanish.cli.main import main

__all__ = ["main"]
