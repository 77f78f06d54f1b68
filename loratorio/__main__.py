"""`python -m loratorio`: the same as the console script `loratorio`."""

from __future__ import annotations

import sys

from loratorio_ext.cli.main import main

if __name__ == "__main__":
    sys.exit(main())
