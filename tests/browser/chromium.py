"""Where Chromium or Google Chrome is on this machine; run as a program, it prints the place."""

import os
import shutil
import sys
from pathlib import Path

NAMES = ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable")
MACOS = (
    "/Applications/Google Chrome.app/Contents/MacOS/Google Chrome",
    "/Applications/Chromium.app/Contents/MacOS/Chromium",
)


def find() -> str | None:
    """The one that CHROMIUM names, else one in the PATH, else macOS's usual place."""
    if given := os.environ.get("CHROMIUM"):
        return shutil.which(given)
    found = filter(None, map(shutil.which, NAMES))
    return next(found, None) or next((place for place in MACOS if Path(place).exists()), None)


if __name__ == "__main__":
    place = find()
    if place is None:
        sys.exit(1)
    print(f"Browser for the tests: {place}")
