"""`python -m unvanish`: the command line."""

from unvanish.cli import main

main()
