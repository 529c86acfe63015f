"""How far a training is: a bar on a terminal, a line at each logging step elsewhere (a log file, a batch system)."""

from __future__ import annotations

from datetime import timedelta
from time import monotonic

from tqdm import tqdm


class Progress:
    """Shows the steps of one process, or nothing if it is not the main one.

    Args:
        first_step: The step after which this run begins.
        last_step: The step with which it ends.
        images_per_step: Images of all processes in a step.
        shown: Whether this is the main process.
    """

    def __init__(self, first_step: int, last_step: int, images_per_step: int, shown: bool) -> None:
        self.first_step, self.last_step, self.images_per_step = first_step, last_step, images_per_step
        total, initial = last_step * images_per_step, first_step * images_per_step
        self.bar = tqdm(total=total, initial=initial, unit=" images", disable=None if shown else True)
        self.prints_lines = shown and self.bar.disable
        self.start = monotonic()

    def close(self) -> None:
        """Close the bar."""
        self.bar.close()

    def update(self, step: int, loss: float) -> None:
        """Move the bar."""
        self.bar.set_postfix(step=step, loss=f"{loss:.4g}", refresh=False)
        self.bar.update(self.images_per_step)

    def log(self, step: int, loss: float) -> None:
        """Print a line, where there is no bar."""
        if self.prints_lines:
            steps_per_second = (step - self.first_step) / max(monotonic() - self.start, 1e-9)
            left = timedelta(seconds=round((self.last_step - step) / steps_per_second))
            rate = f"{steps_per_second * self.images_per_step:.3g} images/s"
            print(f"step {step}/{self.last_step}: loss {loss:.4f}, {rate}, {left} left", flush=True)
