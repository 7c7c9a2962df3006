"""How long the house model takes for a picture on one core, by steps and batch, and what of it is the decoder.

Every figure is the fastest of several, in milliseconds a picture, guidance 3 (two rows of the denoiser each). The baseline is
one picture alone at the default steps, in the same run.
"""

import argparse
import json
import time
from collections.abc import Callable

import torch

from housemodel import weights_folder
from housemodel.dataset import held_out
from housemodel.evaluate import DEFAULT_STEPS, STEPS, Setting, paint
from housemodel.parts import load_pipeline


def fastest_ms(act: Callable[[], object], times: int) -> float:
    """Wall time of the fastest run, in milliseconds."""
    spent = []
    for _ in range(times):
        started = time.perf_counter()
        act()
        spent.append(time.perf_counter() - started)
    return min(spent) * 1000


def main() -> None:
    """Print the figures; the last line is one JSON object."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--quick", action="store_true", help="two runs of each instead of five")
    times = 2 if parser.parse_args().quick else 5
    torch.set_num_threads(1)
    pipe, said = load_pipeline(weights_folder()), [text for _, text in held_out(16)]
    figures: dict[str, float] = {}
    usual = DEFAULT_STEPS
    for name, steps, batch in (("alone", usual, 1), ("alone_20_steps", STEPS, 1), ("of_4", usual, 4), ("of_16", usual, 16)):
        setting, captions = Setting(steps=steps, batch=batch), said[:batch]
        figures[f"{name}_ms"] = fastest_ms(lambda s=setting, c=captions: list(paint(pipe, c, s)), times) / batch
    latents = torch.randn(1, 12, 8, 8)
    with torch.no_grad():
        figures["decode_ms"] = fastest_ms(lambda: pipe.vae.decode(latents), times)
    for name, figure in figures.items():
        print(f"{name:20} {figure:7.1f}   {figure / figures['alone_ms']:.2f} of one alone at {DEFAULT_STEPS} steps")
    print(json.dumps({name: round(figure, 1) for name, figure in figures.items()}))


if __name__ == "__main__":
    main()
