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
from matplotlib.figure import Figure

from bioplausible.__main__ import main
from tests.helpers import LONGEST, make_run

CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
pytestmark = pytest.mark.skipif(CHROMIUM is None, reason="needs Chromium (Debian's package chromium)")

FRAME = """<!doctype html><link rel="icon" href="data:,"><body style="margin: 0">
<iframe src="index.html" style="border: 0; width: WIDTHpx; height: 9000px" onload="
    const page = this.contentDocument
    const style = (name, property) => [...page.querySelectorAll(name)].map(part => getComputedStyle(part)[property])
    const ids = [...page.querySelectorAll('[id]')].map(part => part.id)
    document.title = JSON.stringify({
        title: page.title,
        rows: page.querySelectorAll('tr').length,
        images: [...page.images].map(image => image.naturalWidth),
        width: page.documentElement.scrollWidth,
        hidden: [...page.querySelectorAll('table, img')].filter(part => part.getBoundingClientRect().right >
            page.documentElement.clientWidth && !part.closest('.scroll')).length,
        scrolled: [...page.querySelectorAll('.scroll')].filter(part => part.scrollWidth > part.clientWidth).length,
        tables: [...page.querySelectorAll('.scroll > table')].map(part =>
            part.parentElement.scrollWidth - part.parentElement.clientWidth),
        broken: [...page.links].map(link => link.hash.slice(1)).filter(name => !ids.includes(name)),
        links: page.links.length,
        twice: ids.length - new Set(ids).size,
        verdict: [...page.querySelectorAll('.verdict')].map(part => part.getBoundingClientRect().bottom),
        table: [...page.querySelectorAll('table')].map(part => part.getBoundingClientRect().top),
        background: style('body', 'backgroundColor'),
        text: style('p', 'color'),
        filters: style('img', 'filter'),
        titles: [...page.querySelectorAll('td.path')].map(cell => [cell.textContent, cell.title]),
    })"></iframe>"""
"""Shows the page WIDTH pixels wide and puts what came of it into its own title."""


def visit(folder: Path, width: int = 1200, dark: bool = False) -> tuple[dict, list[str], set[str]]:
    """Serves a folder's index.html; returns what rendered, the console's lines and the addresses it asked elsewhere."""
    (folder / "frame.html").write_text(FRAME.replace("WIDTH", f"{width}"))
    handler = partial(SimpleHTTPRequestHandler, directory=str(folder))
    with ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        here = f"http://127.0.0.1:{server.server_port}"
        options = ["--headless", "--no-sandbox", "--disable-gpu", "--disable-dev-shm-usage", "--enable-logging=stderr"]
        options += ["--host-resolver-rules=MAP * ~NOTFOUND , EXCLUDE 127.0.0.1", "--log-net-log=net.json"]
        options += [f"--blink-settings=preferredColorScheme={0 if dark else 1}"]
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


@pytest.mark.parametrize(("width", "dark"), [(400, False), (400, True), (1400, False), (1400, True)])
def test_narrow_and_wide_light_and_dark(width, dark):
    """The answer is on the first screen, every link leads somewhere, and nothing sticks out of the page."""
    for seed in (0, 10, 20):
        for recipe in ("equilibrium_propagation", "backpropagation", "kolen_pollack"):
            where = Path(f"logs/{recipe}/version_{seed}")
            make_run(
                where, 0.8 + len(recipe) * (5 + seed**2 / 400) / 1000, seed, f"digits/{recipe}", epochs=5, planned=5
            )
    for name in ("settling", "confusion_matrix"):
        path = Path(f"logs/backpropagation/version_0/figures/{name}.png")
        path.parent.mkdir(exist_ok=True)
        Figure(figsize=(10, 5)).savefig(path)
    Path("logs/empty/version_0").mkdir(parents=True)
    assert main(["report", "logs"]) == 0
    found, console, _ = visit(Path("report"), width, dark)
    assert console == []
    assert found["width"] == width
    assert found["hidden"] == 0
    assert (found["scrolled"] > 0) == (width == 400)  # wide figures do
    assert len(found["tables"]) == 3
    assert max(found["tables"]) == 0
    assert found["broken"] == []
    assert found["links"] >= 8 + 9
    assert found["twice"] == 0
    (bottom,) = found["verdict"]
    assert bottom < 700
    assert 0 <= found["table"][0] - bottom < 50  # the table stands right below
    (background,), text = found["background"], found["text"][0]
    brightness = [sum(map(int, re.findall(r"\d+", colour)[:3])) / 3 for colour in (background, text)]
    assert (brightness[0] < 40 and brightness[1] > 170) if dark else (brightness[0] > 230 and brightness[1] < 90)
    # what is drawn in lines is inverted on a dark page, and a confusion matrix, whose brightness counts, is not
    inverted = ["invert" in each for each in found["filters"]]
    assert inverted == [dark] * 3 + [False]
    assert ["kolen_pollack/version_20", "logs/kolen_pollack/version_20"] in found["titles"]
    assert ["empty/version_0", "logs/empty/version_0"] in found["titles"]


def test_errors_and_other_hosts_would_be_seen():
    Path("page").mkdir()
    Path("page/index.html").write_text("<img src='http://example.com/a.png'><script>nothing.at.all()</script>")
    rendered, console, elsewhere = visit(Path("page"))
    assert "ReferenceError" in console[0]
    assert elsewhere == {"http://example.com/a.png"}
    assert rendered["images"] == [0]
