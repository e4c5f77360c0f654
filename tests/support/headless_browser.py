"""Chromium without a screen: does a page load without complaint, how does it look, how does it print?"""

from __future__ import annotations

import re
import shutil
import subprocess
from pathlib import Path

import pytest

_PROGRAMS = ("chromium", "chromium-browser", "google-chrome")
# The browser asks these for itself whatever the page holds.
_OF_THE_BROWSER = (".google.com", ".googleapis.com")
# No name is looked up: whatever is asked of a network fails.
_OPTIONS = ("--headless", "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run", "--hide-scrollbars",
            "--disable-background-networking", "--disable-component-update", "--disable-sync",
            "--host-resolver-rules=MAP * ~NOTFOUND", "--enable-logging=stderr", "--v=0")


class HeadlessBrowser:
    """One browser with a profile of its own in a folder."""

    def __init__(self, folder: Path) -> None:
        found = next((path for name in _PROGRAMS if (path := shutil.which(name))), None)
        if found is None:
            pytest.skip("chromium is not installed (apt-get install chromium)")
        self._program, self._folder, self._runs = found, folder, 0

    def screenshot(self, page: Path, picture: Path, width: int, height: int) -> list[str]:
        """Draw the page and return what its console said and which hosts were asked."""
        return self._run(page, picture, f"--window-size={width},{height}", f"--screenshot={picture}")

    def pdf(self, page: Path, printed: Path) -> list[str]:
        """Print the page and return what its console said and which hosts were asked."""
        return self._run(page, printed, f"--print-to-pdf={printed}", "--no-pdf-header-footer")

    def _run(self, page: Path, result: Path, *options: str) -> list[str]:
        self._runs += 1
        requests = self._folder / f"requests{self._runs}.json"
        run = subprocess.run(
            [self._program, *_OPTIONS, f"--user-data-dir={self._folder / f'profile{self._runs}'}",
             f"--log-net-log={requests}", *options, page.as_uri()], capture_output=True, text=True, timeout=240,
            check=False)
        assert run.returncode == 0, run.stderr
        assert result.is_file(), run.stderr
        console = [line for line in run.stderr.splitlines() if re.search(r"CONSOLE[:(\]]", line)]
        asked = set(re.findall(r'"url":"https?://([^/"]+)', requests.read_text(encoding="utf-8")))
        return console + sorted(f"asked of a network: {host}" for host in asked if not host.endswith(_OF_THE_BROWSER))
