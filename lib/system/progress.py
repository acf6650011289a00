"""How far a long piece of work is, and the time left: a bar on a terminal, else lines."""

import sys
import time

from tqdm import tqdm

PAUSE = 60.0  # seconds between two lines, where there is no terminal


def duration(seconds: float) -> str:
    """Seconds, in the unit in which one would say them."""
    for unit, size in (("days", 86400), ("hours", 3600)):
        if seconds > 2 * size:
            return f"{seconds / size:.1f} {unit}"
    return f"{seconds / 60:.0f} min"


class Bar:
    """A bar of 100 %, or lines of text; nothing unless `loud`."""

    def __init__(self, loud: bool = True):
        self.loud = loud
        self.started = self.printed = time.monotonic()
        layout = "{desc} |{bar}| {n:.0f} % {postfix}"
        terminal = loud and sys.stderr.isatty()
        self.bar = tqdm(total=100, bar_format=layout) if terminal else None

    def draw(self, share: float, work: str, pace: str, note: str = "") -> None:
        """Show which `share` of the `work` is done, and the `pace`; a `note` is printed at once."""
        percent = min(100.0, 100 * share)
        if self.bar is not None:
            self.bar.n = percent
            self.bar.set_description_str(work, refresh=False)
            self.bar.set_postfix_str(pace)
        elif self.loud and (note or time.monotonic() - self.printed >= PAUSE):
            self.printed = time.monotonic()
            print(f"{work}, {percent:.0f} %, {pace} {note}".rstrip(), flush=True)

    def close(self) -> None:
        if self.bar is not None:
            self.bar.close()


class Images(Bar):
    """The bar over `count` images; `what` says what is done with them."""

    def __init__(self, what: str, count: int, loud: bool):
        super().__init__(loud)
        self.what, self.count, self.done = what, count, 0

    def advance(self, images: int) -> None:
        self.done += images
        pace = self.done / max(time.monotonic() - self.started, 1e-9)
        left = duration((self.count - self.done) / pace)
        work = f"{self.what}: {self.done:,}/{self.count:,} images"
        self.draw(self.done / self.count, work, f"{pace:.0f} images/s, {left} left")
