"""What of reForge is not as in Forge Neo: its stand-in is this folder, then Neo's and Forge's.

It has the WebUI's file names, names, signatures, order of calls and layout of rows, on a model of a few
thousand weights. What is the same in all WebUIs lies in the stand-ins' common folder. The folder ``backend``
is no part of reForge; it is there for what the stand-ins share.
"""

from __future__ import annotations

from pkgutil import extend_path

__path__ = extend_path(__path__, __name__)
