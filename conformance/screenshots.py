"""Pictures of the dashboard for the docs, made while `serin demo` runs: `make screenshots`.

docs/screenshots/*.png are the main pages, rollback.gif is the rollout page while the version in cents is stopped."""

import io
import subprocess
import sys
import tempfile
import threading
import time
from pathlib import Path

from browsing import Watched, chromium
from PIL import Image
from servers import CLEAN, SERIN, free_port

OUT = Path(__file__).parent.parent / "docs" / "screenshots"
PAGES = {
    "overview": "/", "rollout": "/rollouts", "drift": "/drift", "performance": "/performance", "decisions": "/decisions?action=alert",
    "runs": "/experiments/1", "model": "/models/fraud_detection", "settings": "/settings",
}
DARK = ["overview", "drift"]


class Told:
    """The demo, and the lines that it has told."""

    def __init__(self, *options):
        self.port = free_port()
        folder = Path(tempfile.mkdtemp()) / "demo"
        command = [SERIN, "demo", "--state", str(folder), "--dashboard-port", str(self.port), "--port", str(free_port()), *options]
        self.process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True, env=CLEAN)
        self.lines = []
        threading.Thread(target=self.listen, daemon=True).start()

    def listen(self):
        for line in self.process.stdout:
            print(line, end="", flush=True)
            self.lines.append(line)

    def has(self, part):
        return any(part in line for line in self.lines)

    def wait(self, part, seconds=300):
        end = time.monotonic() + seconds
        while not self.has(part):
            assert self.process.poll() is None and time.monotonic() < end, f"the demo never said {part!r}"
            time.sleep(0.02)


def small(png: bytes, width: int) -> Image.Image:
    picture = Image.open(io.BytesIO(png)).convert("RGB")
    return picture.resize((width, round(picture.height * width / picture.width)), Image.LANCZOS)


def main():
    OUT.mkdir(parents=True, exist_ok=True)
    told = Told(*sys.argv[1:])
    with chromium() as browser:
        told.wait("Look while it happens")
        watched = Watched(browser, f"http://127.0.0.1:{told.port}", viewport={"width": 1100, "height": 760})
        page, frames = watched.open("/rollouts"), []
        told.wait("Version 2, an honest retrain")
        while not told.has("Version 3, trained on"):
            frames.append((time.monotonic(), page.screenshot()))
        # Until scoring starts again, a moment later.
        while not told.has("Labels matured"):
            frames.append((time.monotonic(), page.screenshot()))
        # What stands still is one picture with a longer time.
        kept = [frames[0]]
        for at, png in frames[1:]:
            if png != kept[-1][1]:
                kept.append((at, png))
        ends = [at for at, _ in kept[1:]] + [kept[-1][0] + 3]
        times = [max(round((end - at) * 1000), 80) for (at, _), end in zip(kept, ends)]
        pictures = [small(png, 800).quantize(64) for _, png in kept]
        pictures[0].save(OUT / "rollback.gif", save_all=True, append_images=pictures[1:], duration=[min(t, 3000) for t in times], loop=0, optimize=True)
        watched.close()
        told.wait("The dashboard stays")
        for theme in ("light", "dark"):
            watched = Watched(browser, f"http://127.0.0.1:{told.port}", viewport={"width": 1280, "height": 900}, color_scheme=theme)
            for name, path in PAGES.items():
                if theme == "dark" and name not in DARK:
                    continue
                page = watched.open(path)
                page.wait_for_timeout(1200)
                small(page.screenshot(), 1280).quantize(128).save(OUT / f"{name}-{theme}.png", optimize=True)
            if theme == "light":
                page = watched.open("/decisions?action=alert&least=0.9")
                page.locator("tbody tr a").first.click()
                page.get_by_role("button", name="Replay").click()
                page.wait_for_timeout(1200)
                small(page.screenshot(), 1280).quantize(128).save(OUT / "decision-light.png", optimize=True)
            watched.check()
            watched.close()
    told.process.terminate()
    told.process.wait(30)
    for file in sorted(OUT.iterdir()):
        print(f"{file.relative_to(OUT.parent.parent)}  {file.stat().st_size / 1000:.0f} kB")


if __name__ == "__main__":
    main()
