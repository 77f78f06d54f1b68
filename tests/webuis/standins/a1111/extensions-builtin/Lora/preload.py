from __future__ import annotations


def preload(parser):
    parser.add_argument("--lora-dir", type=str, default="")
