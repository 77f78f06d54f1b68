from __future__ import annotations

import argparse

parser = argparse.ArgumentParser()
parser.add_argument("--api", action="store_true")
parser.add_argument("--nowebui", action="store_true")
parser.add_argument("--api-auth", type=str, default=None)
