"""`python -m unvanish.docgen DIR` writes the pages of findings and remedies into a folder, as `make docs` does."""

from __future__ import annotations

import sys
from pathlib import Path

from unvanish.docgen.finding_pages import write_pages


def main() -> None:
    """Writes the pages below the folder of the first argument, by default docs, and prints their number."""
    folder = Path(sys.argv[1] if len(sys.argv) > 1 else "docs")
    print(f"{len(write_pages(folder))} pages in {folder}")


if __name__ == "__main__":
    main()
