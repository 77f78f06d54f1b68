"""What of Forge Neo is not as in Forge: its stand-in is this folder, then Forge's.

It has the WebUI's file names, names, signatures, order of calls and layout of rows, on a model of a few
thousand weights. What is the same in all WebUIs lies in the stand-ins' common folder.
"""

from __future__ import annotations

from pkgutil import extend_path

__path__ = extend_path(__path__, __name__)
