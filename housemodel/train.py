"""From nothing to the weights: `python -m housemodel.train --out FOLDER`; run it again after an interruption.

Text encoder (seconds), denoiser (the long part), decoder (minutes), then the evaluation. One core is enough; the same
seed and the same number of threads give the same weights.
"""

import argparse
import shutil
import sys
import time
from collections.abc import Callable, Sequence
from pathlib import Path

import torch
from diffusers import AutoencoderTiny, UNet2DConditionModel
from transformers import CLIPTextModel, CLIPTokenizer

from housemodel.dataset import make_scenes
from housemodel.evaluate import OTHER_SETTINGS, evaluate
from housemodel.parts import assemble, build_autoencoder, build_denoiser, build_text_encoder, load_pipeline
from housemodel.tokens import build_tokenizer
from housemodel.train_decoder import DecoderCourse, DecoderPlan, train_decoder
from housemodel.train_denoiser import Course, Denoising, Plan, train_denoiser
from housemodel.train_text import pretrain_text

SCENES = 24_000
TEXT_STEPS = 450
ABOUT = "darkroom.json"
"""Title and default settings, which workers read beside the pipeline's own files."""


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


def trained_words(work: Path, plan: Plan) -> tuple[CLIPTokenizer, Denoising]:
    """Text encoder and denoiser after their training."""
    tokenizer = build_tokenizer()
    text, denoiser = build_text_encoder(tokenizer), build_denoiser()
    say(f"drawing {SCENES} scenes")
    data = make_scenes(SCENES, plan.seed)

    def first_words() -> dict:
        pretrain_text(text, tokenizer, data.scenes, steps=TEXT_STEPS, seed=plan.seed, report=say)
        return text.state_dict()

    text.load_state_dict(stored(work / "text.pt", first_words))
    course = Course(Denoising(text, denoiser), plan, work / "denoiser.pt")
    train_denoiser(course, data, tokenizer, Progress("denoiser", plan.steps))
    say(f"the denoiser took {course.spent / 60:.1f} CPU minutes")
    return tokenizer, course.average


def trained_autoencoder(work: Path, plan: DecoderPlan) -> AutoencoderTiny:
    """The autoencoder after the decoder's training."""
    vae, file = build_autoencoder(), work / "decoder.pt"
    course = DecoderCourse(vae, plan)
    if file.exists():
        course.restore(torch.load(file, weights_only=False))

    def save() -> None:
        torch.save(course.state(), file.with_suffix(".part"))
        file.with_suffix(".part").replace(file)

    train_decoder(course, Progress("decoder", plan.steps), save)
    return vae


def export(out: Path, tokenizer: CLIPTokenizer, text: CLIPTextModel, denoiser: UNet2DConditionModel, vae: AutoencoderTiny) -> None:
    """Write the pipeline in fp16 beside the folder, then swap it in; what the house says about the model stays."""
    beside = out.with_name(out.name + ".part")
    shutil.rmtree(beside, ignore_errors=True)
    assemble(tokenizer, text.half(), denoiser.half(), vae.half()).save_pretrained(beside, safe_serialization=True)
    if (out / ABOUT).exists():
        shutil.copy(out / ABOUT, beside / ABOUT)
    shutil.rmtree(out, ignore_errors=True)
    beside.rename(out)


def main(arguments: Sequence[str] | None = None) -> None:
    """Train, write the weights, evaluate them."""
    reader = argparse.ArgumentParser(prog="python -m housemodel.train", description=__doc__)
    reader.add_argument("--out", type=Path, default=Path("house-weights"), help="the pipeline folder to write")
    reader.add_argument("--seed", type=int, default=7)
    reader.add_argument("--steps", type=int, default=Plan().steps, help="steps of the denoiser")
    reader.add_argument("--decoder-steps", type=int, default=DecoderPlan().steps)
    reader.add_argument("--threads", type=int, default=1)
    reader.add_argument("--n", type=int, default=200, help="captions of the evaluation at the end")
    given = reader.parse_args(arguments)
    torch.set_num_threads(given.threads)
    torch.manual_seed(given.seed)
    work = given.out.with_name(given.out.name + ".work")
    work.mkdir(parents=True, exist_ok=True)
    tokenizer, words = trained_words(work, Plan(steps=given.steps, seed=given.seed))
    torch.manual_seed(given.seed + 1)
    vae = trained_autoencoder(work, DecoderPlan(steps=given.decoder_steps, seed=given.seed + 2))
    export(given.out, tokenizer, words.text, words.denoiser, vae)
    say(f"written to {given.out}")
    evaluate(load_pipeline(given.out), given.n, OTHER_SETTINGS)


if __name__ == "__main__":
    main()
