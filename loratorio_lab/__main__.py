"""`python -m loratorio_lab`: the same as the console script `loratorio-lab`."""

from __future__ import annotations

import sys

from loratorio_lab.main import main

if __name__ == "__main__":
    sys.exit(main())
