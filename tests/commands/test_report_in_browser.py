"""The report's page in a real browser: it renders, says nothing to the console and asks no other host for anything."""

import json
import re
import shutil
import subprocess
import threading
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest

from bioplausible.__main__ import main
from tests.helpers import LONGEST, make_run

CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
pytestmark = pytest.mark.skipif(CHROMIUM is None, reason="needs Chromium (Debian's package chromium)")

FRAME = """<!doctype html><link rel="icon" href="data:,"><body style="margin: 0">
<iframe src="index.html" style="border: 0; width: 1200px; height: 9000px" onload="
    const page = this.contentDocument
    document.title = JSON.stringify({
        title: page.title,
        rows: page.querySelectorAll('tr').length,
        images: [...page.images].map(image => image.naturalWidth),
        width: page.documentElement.scrollWidth,
    })"></iframe>"""
"""Shows the page 1200 pixels wide and puts what came of it into its own title."""


def visit(folder: Path) -> tuple[dict, list[str], set[str]]:
    """Serves a folder's index.html; returns what rendered, the console's lines and the addresses it asked elsewhere."""
    (folder / "frame.html").write_text(FRAME)
    handler = partial(SimpleHTTPRequestHandler, directory=str(folder))
    with ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        here = f"http://127.0.0.1:{server.server_port}"
        options = ["--headless", "--no-sandbox", "--disable-gpu", "--disable-dev-shm-usage", "--enable-logging=stderr"]
        options += ["--host-resolver-rules=MAP * ~NOTFOUND , EXCLUDE 127.0.0.1", "--log-net-log=net.json"]
        options += [f"--user-data-dir={Path('profile').absolute()}", "--dump-dom", f"{here}/frame.html"]
        browser = subprocess.run([CHROMIUM, *options], capture_output=True, text=True, timeout=LONGEST, check=True)
        server.shutdown()
    rendered = json.loads(re.search("<title>(.*?)</title>", browser.stdout)[1])
    console = [line for line in browser.stderr.splitlines() if ":CONSOLE" in line]
    requests = [event.get("params", {}) for event in json.loads(Path("net.json").read_text())["events"]]
    # the browser's own requests, for its updates, have no page as their initiator
    elsewhere = {r["url"] for r in requests if r.get("initiator") == here and not r["url"].startswith(f"{here}/")}
    return rendered, console, elsewhere


def test_the_page_renders_without_errors_or_other_hosts():
    for seed in (0, 10):
        make_run(Path(f"logs/version_{seed}"), 0.9, seed)
    make_run(Path("logs/version_20"), 0.8, 0, recipe="fashion_mnist/backpropagation")
    make_run(Path("logs/version_30"), None, 20, epochs=20)
    layer = {"conv": 128, "kernel": 5, "padding": 2, "pool": "average", "skip": {"from": 0, "stride": 2}}
    make_run(Path("logs/version_40"), 0.8, 0, layer_sizes=None, network=[[1, 28, 28], *[layer] * 12, 10])
    assert main(["report", "logs"]) == 0
    rendered, console, elsewhere = visit(Path("report"))
    assert console == []
    assert elsewhere == set()
    assert rendered["title"] == "bioplausible: report of 5 runs"
    assert rendered["rows"] == (1 + 2) + (1 + 1) + (1 + 5)
    assert len(rendered["images"]) == 4
    assert min(rendered["images"]) > 500  # those that failed to load have no width
    assert rendered["width"] == 1200  # nothing sticks out


def test_errors_and_other_hosts_would_be_seen():
    Path("page").mkdir()
    Path("page/index.html").write_text("<img src='http://example.com/a.png'><script>nothing.at.all()</script>")
    rendered, console, elsewhere = visit(Path("page"))
    assert "ReferenceError" in console[0]
    assert elsewhere == {"http://example.com/a.png"}
    assert rendered["images"] == [0]
