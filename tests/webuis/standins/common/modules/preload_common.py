"""For the file of this name of the WebUIs' Lora extensions; no WebUI has this one."""

from __future__ import annotations


def preload(parser):
    parser.add_argument("--lora-dir", type=str, default="")
