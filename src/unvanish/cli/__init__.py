"""The command line, one verb a file: parses arguments, calls `workflows`, prints. `--help` loads neither torch nor numpy."""

from unvanish.cli.main import main

__all__ = ["main"]
