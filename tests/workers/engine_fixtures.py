"""What the engine's tests share: real tiny models on disk, and a listener that remembers."""

import threading
from dataclasses import dataclass, field
from pathlib import Path

from workers.engine.run import Broken, Made, Progress, Report, Stopped


def save_models(folder: Path) -> Path:
    """Two random models: ``kl`` (AutoencoderKL, epsilon) and ``tiny`` (AutoencoderTiny, 12 channels, v-prediction)."""
    from tests.workers.tiny_models import make_pipeline

    models = folder / "models"
    make_pipeline(folder / "tokenizer").save_pretrained(models / "kl")
    tiny = make_pipeline(folder / "tokenizer", autoencoder="tiny", prediction="v_prediction", seed=1)
    tiny.save_pretrained(models / "tiny")
    return models


@dataclass
class Listener:
    """Remembers what the engine told of one run."""

    reports: list[Report] = field(default_factory=list)
    _ended: threading.Event = field(default_factory=threading.Event)
    _stepped: threading.Condition = field(default_factory=threading.Condition)

    def __call__(self, report: Report) -> None:
        with self._stepped:
            self.reports.append(report)
            self._stepped.notify_all()
        if isinstance(report, Made | Broken | Stopped):
            self._ended.set()

    def end(self) -> Made | Broken | Stopped:
        """Wait for the end."""
        assert self._ended.wait(20), f"no end came; told so far: {self.reports}"
        return next(report for report in self.reports if isinstance(report, Made | Broken | Stopped))

    def made(self) -> Made:
        """Wait for the picture."""
        end = self.end()
        assert isinstance(end, Made), end
        return end

    def broken(self) -> Broken:
        """Wait for the failure."""
        end = self.end()
        assert isinstance(end, Broken), end
        return end

    def wait_for_step(self, step: int) -> None:
        """Wait until so many steps are done."""
        with self._stepped:
            assert self._stepped.wait_for(lambda: self.steps >= step, 20), f"only {self.steps} steps were done"

    @property
    def steps(self) -> int:
        """Steps done as told; -1 before the run joined."""
        return max((report.step for report in self.reports if isinstance(report, Progress)), default=-1)

    @property
    def ends(self) -> int:
        """How many ends were told."""
        return sum(isinstance(report, Made | Broken | Stopped) for report in self.reports)
