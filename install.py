"""Run by the WebUI before it loads the extension: installs nothing, but says what would not work.

The WebUI brings its own torch and its own libraries, and an extension that changes them breaks others.
So this checks the installed versions and, where one is too old or missing, prints a single message.
"""

from __future__ import annotations

import re
import sys
from importlib import metadata

PYTHON_MINIMUM = (3, 10)
# The same minima as `dependencies` in pyproject.toml.
MINIMA = (
    ("torch", (2, 1)),
    ("einops", (0, 4, 1)),
    ("safetensors", (0, 4, 2)),
    ("numpy", (1, 26)),
)


def release(version: str) -> tuple[int, ...]:
    """The leading numbers of a version: "2.1.2+cu121" gives (2, 1, 2); () where there are none."""
    match = re.match(r"\s*v?(\d+(?:\.\d+)*)", version)
    return tuple(int(number) for number in match.group(1).split(".")) if match else ()


def dotted(version: tuple[int, ...]) -> str:
    """(2, 1) as "2.1"."""
    return ".".join(str(number) for number in version)


def installed(package: str) -> str | None:
    """The version of an installed package; None where it is missing or does not state one."""
    try:
        return metadata.version(package) or None
    except metadata.PackageNotFoundError:
        return None


def problems() -> list[str]:
    """One line for everything that is missing or too old; empty where nothing is."""
    found = []
    if sys.version_info[:2] < PYTHON_MINIMUM:
        here = dotted(tuple(sys.version_info[:3]))
        found.append(f"Python is {here}, but {dotted(PYTHON_MINIMUM)} or newer is needed")
    for package, minimum in MINIMA:
        version = installed(package)
        if version is None:
            found.append(f"{package} is not installed, but {dotted(minimum)} or newer is needed")
        # A version without numbers (a source build) cannot be judged, so it is taken as it is.
        elif () < release(version) < minimum:
            found.append(f"{package} is {version}, but {dotted(minimum)} or newer is needed")
    return found


def message(found: list[str]) -> str:
    """The whole text for the console, empty where nothing was found."""
    if not found:
        return ""
    return (
        "LoRAtorio: "
        + "; ".join(found)
        + ". The extension installs nothing by itself: update the WebUI, or this package in the WebUI's own"
        " Python environment. Until then LoRAtorio may not load."
    )


def main() -> None:
    """Print the message, if there is one. Never raises: a broken check must not stop the WebUI."""
    try:
        text = message(problems())
    except Exception as error:  # noqa: BLE001 - whatever a broken environment does, the WebUI must start
        text = f"LoRAtorio: could not check the installed versions ({type(error).__name__}: {error})."
    if text:
        print(text)


if __name__ == "__main__":
    main()
