"""From nothing to the weights: `python -m housemodel.train --out FOLDER`; run it again after an interruption.

Text encoder (minutes) and denoiser (the long part) in this process, the decoder beside them in another, then the
evaluation. Two cores are used, one is enough; the same seed and the same number of threads give the same weights,
interrupted or not. `--quick` runs every stage for a few steps: its weights can do nothing, but they show that the chain
holds.
"""

import argparse
import json
import multiprocessing
import os
import shutil
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field
from pathlib import Path

import torch
from diffusers import AutoencoderTiny, UNet2DConditionModel
from transformers import CLIPTextModel, CLIPTokenizer

from housemodel.dataset import make_scenes
from housemodel.evaluate import DEFAULT_STEPS, GUIDANCE, OTHER_SETTINGS, evaluate
from housemodel.parts import assemble, build_autoencoder, build_denoiser, build_text_encoder, load_pipeline
from housemodel.tokens import build_tokenizer
from housemodel.train_decoder import DecoderCourse, DecoderPlan, train_decoder
from housemodel.train_denoiser import Course, Denoising, Plan, train_denoiser
from housemodel.train_text import pretrain_text

ABOUT = "darkroom.json"
"""Title and default settings, which workers read beside the pipeline's own files."""


@dataclass(frozen=True, kw_only=True)
class Way:
    """The whole way: scenes, steps of the text encoder, and the plans of denoiser and decoder."""

    scenes: int = 24_000
    text_steps: int = 450
    denoiser: Plan = field(default_factory=Plan)
    decoder: DecoderPlan = field(default_factory=DecoderPlan)


class NoDecoderError(RuntimeError):
    """The process that trains the decoder died; what it had saved is kept, and the same command goes on from there."""


class OtherPlanError(ValueError):
    """The work folder belongs to a training with other settings."""


class Progress:
    """One line on the terminal: a bar, the loss, the time that is left."""

    def __init__(self, name: str, total: int, every: int = 10) -> None:
        self.name, self.total, self.every = name, total, every
        self.started, self.first, self.mean = time.monotonic(), 0, 0.0

    def __call__(self, step: int, loss: float) -> None:
        """Show step `step` of the total."""
        if not self.first:
            self.first, self.mean = step, loss
        self.mean += 0.02 * (loss - self.mean)
        if step % self.every and step != self.total:
            return
        spent = time.monotonic() - self.started
        left = spent / (step - self.first + 1) * (self.total - step)
        bar = "#" * (24 * step // self.total)
        sys.stdout.write(f"\r{self.name} [{bar:<24}] {step}/{self.total}  loss {self.mean:.4f}  "
                         f"{int(left // 60)}:{int(left % 60):02d} left ")  # fmt: skip
        sys.stdout.write("\n" if step == self.total else "")
        sys.stdout.flush()


def say(line: str) -> None:
    """A line of news."""
    print(line, flush=True)


def stored(file: Path, make: Callable[[], dict]) -> dict:
    """What the file holds, or what `make` makes, which then is stored there."""
    if not file.exists():
        made = make()
        torch.save(made, file.with_suffix(".part"))
        file.with_suffix(".part").replace(file)
    return torch.load(file, weights_only=False)


def begin(work: Path, way: Way) -> None:
    """Make the work folder, or take it up again; raises OtherPlanError if it was begun with other settings."""
    work.mkdir(parents=True, exist_ok=True)
    told, file = json.dumps(asdict(way), indent=2), work / "plan.json"
    if not file.exists():
        file.write_text(told)
    if file.read_text() != told:
        raise OtherPlanError(f"{work} holds a training with other settings ({file}); name another --out, or remove it")


def trained_words(work: Path, way: Way) -> tuple[CLIPTokenizer, Denoising]:
    """Text encoder and denoiser after their training."""
    plan, tokenizer = way.denoiser, build_tokenizer()
    torch.manual_seed(plan.seed)
    text, denoiser = build_text_encoder(tokenizer), build_denoiser()
    say(f"drawing {way.scenes} scenes")
    data = make_scenes(way.scenes, plan.seed)

    def first_words() -> dict:
        pretrain_text(text, tokenizer, data.scenes, steps=way.text_steps, seed=plan.seed, report=say)
        return text.state_dict()

    text.load_state_dict(stored(work / "text.pt", first_words))
    course = Course(Denoising(text, denoiser), plan, work / "denoiser.pt")
    train_denoiser(course, data, tokenizer, Progress("denoiser", plan.steps))
    say(f"the denoiser took {course.spent / 60:.1f} CPU minutes")
    return tokenizer, course.average


def trained_autoencoder(work: Path, plan: DecoderPlan, report: Callable[[int, float], None]) -> AutoencoderTiny:
    """The autoencoder after the decoder's training."""
    torch.manual_seed(plan.seed)
    vae, file = build_autoencoder(), work / "decoder.pt"
    course = DecoderCourse(vae, plan)
    if file.exists():
        course.restore(torch.load(file, weights_only=False))

    def save() -> None:
        torch.save(course.state(), file.with_suffix(".part"))
        file.with_suffix(".part").replace(file)

    train_decoder(course, report, save)
    return vae


def _decoder_of(parent: int, work: Path, plan: DecoderPlan, threads: int) -> None:
    """The decoder's training in a process of its own; it leaves with its parent, or a second start would find it writing."""
    torch.set_num_threads(threads)

    def report(step: int, loss: float) -> None:
        if os.getppid() != parent:
            os._exit(1)
        if step % max(1, plan.steps // 10) == 0:
            say(f"\ndecoder {step}/{plan.steps}  loss {loss:.4f}")

    trained_autoencoder(work, plan, report)


@contextmanager
def decoder_beside(work: Path, plan: DecoderPlan, threads: int) -> Iterator[None]:
    """Train the decoder, which needs nothing of the other parts, beside the body; raises NoDecoderError if that died."""
    told = (os.getpid(), work, plan, threads)
    beside = multiprocessing.get_context("spawn").Process(target=_decoder_of, args=told, daemon=True)
    beside.start()
    yield
    beside.join()
    if beside.exitcode:
        raise NoDecoderError(f"the decoder's training ended with {beside.exitcode}; start the command again to go on")


def _load_in_full(config: Path) -> None:
    """Text encoders load in the precision that their settings name, the other parts in fp32 unless told: let them agree."""
    told = json.loads(config.read_text())
    config.write_text(json.dumps(told | {"dtype": "float32"}, indent=2) + "\n")


def export(out: Path, tokenizer: CLIPTokenizer, text: CLIPTextModel, denoiser: UNet2DConditionModel, vae: AutoencoderTiny) -> None:
    """Write the pipeline in fp16 beside the folder, then swap it in; what the house says about the model stays."""
    beside = out.with_name(out.name + ".part")
    shutil.rmtree(beside, ignore_errors=True)
    assemble(tokenizer, text.half(), denoiser.half(), vae.half()).save_pretrained(beside, safe_serialization=True)
    _load_in_full(beside / "text_encoder" / "config.json")
    if (out / ABOUT).exists():
        shutil.copy(out / ABOUT, beside / ABOUT)
    else:
        about = {"title": "House model", "default_steps": DEFAULT_STEPS, "default_guidance": GUIDANCE}
        (beside / ABOUT).write_text(json.dumps(about, indent=2) + "\n")
    shutil.rmtree(out, ignore_errors=True)
    beside.rename(out)


def plan_way(seed: int, steps: int | None, decoder_steps: int | None, quick: bool) -> Way:
    """The settings for a seed; quick ones save at every second step, so that an interruption finds something."""
    if quick:
        small = Plan(steps=steps or 8, batch=4, warm_up=2, seed=seed, save_every=2)
        return Way(scenes=200, text_steps=20, denoiser=small,
                   decoder=DecoderPlan(steps=decoder_steps or 8, batch=2, pictures=100, seed=seed + 2, save_every=2))  # fmt: skip
    return Way(denoiser=Plan(steps=steps or Plan().steps, seed=seed),
               decoder=DecoderPlan(steps=decoder_steps or DecoderPlan().steps, seed=seed + 2))  # fmt: skip


def main(arguments: Sequence[str] | None = None) -> None:
    """Train, write the weights, evaluate them."""
    reader = argparse.ArgumentParser(prog="python -m housemodel.train", description=__doc__)
    reader.add_argument("--out", type=Path, default=Path("house-weights"), help="the pipeline folder to write")
    reader.add_argument("--seed", type=int, default=7)
    reader.add_argument("--steps", type=int, help=f"steps of the denoiser (default {Plan().steps})")
    reader.add_argument("--decoder-steps", type=int, help=f"steps of the decoder (default {DecoderPlan().steps})")
    reader.add_argument("--threads", type=int, default=1)
    reader.add_argument("--n", type=int, help="captions of the evaluation at the end (default 200)")
    reader.add_argument("--quick", action="store_true", help="a few steps of every stage, to see that the chain holds")
    given = reader.parse_args(arguments)
    torch.set_num_threads(given.threads)
    way, work = plan_way(given.seed, given.steps, given.decoder_steps, given.quick), given.out.with_name(given.out.name + ".work")
    try:
        begin(work, way)
    except OtherPlanError as error:
        reader.error(str(error))
    with decoder_beside(work, way.decoder, given.threads):
        tokenizer, words = trained_words(work, way)
    vae = trained_autoencoder(work, way.decoder, Progress("decoder", way.decoder.steps))
    export(given.out, tokenizer, words.text, words.denoiser, vae)
    say(f"written to {given.out}")
    evaluate(load_pipeline(given.out), given.n or (4 if given.quick else 200), OTHER_SETTINGS)


if __name__ == "__main__":
    main()
