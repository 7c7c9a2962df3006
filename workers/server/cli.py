"""``darkroom worker``: the command line of the GPU-side process."""

from __future__ import annotations

import argparse
import asyncio
import logging
import os
import platform
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, TextIO

from workers.server.settings import SettingsRefused, WorkerSettings

if TYPE_CHECKING:
    from workers.engine.ports import Backend

TOKEN_VARIABLE = "DARKROOM_WORKER_TOKEN"  # noqa: S105 - the name of the variable, not a token


def parser() -> argparse.ArgumentParser:
    """The options, for `main` and for whoever documents them."""
    made = argparse.ArgumentParser(
        prog="darkroom worker", description="Make pictures on this machine's GPU or CPU for a darkroom host."
    )
    made.add_argument(
        "--host", default="127.0.0.1", help="address to listen on; off loopback a token is needed (127.0.0.1)"
    )
    made.add_argument("--port", type=int, default=7870, help="port to listen on, 0 for any (7870)")
    made.add_argument(
        "--models",
        type=Path,
        default=Path("models"),
        help="folder with models in diffusers layout or .safetensors (models)",
    )
    made.add_argument(
        "--name", default=platform.node() or "worker", help="what the host calls this worker (this machine's name)"
    )
    made.add_argument(
        "--token", help=f"what the host must send; better set {TOKEN_VARIABLE}, which other users cannot see"
    )
    made.add_argument("--threads", type=int, help="CPU threads for the model (torch decides)")
    made.add_argument("--max-batch", type=int, default=8, help="the most pictures made at once (8)")
    made.add_argument("--models-in-memory", type=int, default=2, help="how many models stay loaded (2)")
    made.add_argument(
        "--device", choices=("auto", "cuda", "rocm", "mps", "cpu"), default="auto", help="what to compute on (auto)"
    )
    made.add_argument(
        "--no-house-model", action="store_true", help="do not offer the small model that comes with darkroom"
    )
    return made


def settings_of(options: argparse.Namespace, environment: Mapping[str, str]) -> WorkerSettings:
    """The settings that a command line and an environment mean. Raises SettingsRefused."""
    if options.threads is not None and not 1 <= options.threads <= 1024:
        raise SettingsRefused("--threads must be from 1 to 1024.")
    if not 0 <= options.port <= 65535:
        raise SettingsRefused("--port must be from 0 to 65535.")
    if not 1 <= options.models_in_memory <= 16:
        raise SettingsRefused("--models-in-memory must be from 1 to 16.")
    return WorkerSettings(
        host=options.host,
        port=options.port,
        models=options.models,
        name=options.name[:100],
        token=options.token or environment.get(TOKEN_VARIABLE) or None,
        threads=options.threads,
        max_batch=options.max_batch,
        models_in_memory=options.models_in_memory,
        device=options.device,
    )


def builtin_models() -> dict[str, Path]:
    """The models that come with darkroom, by name; empty where they were left out of the installation."""
    try:
        import housemodel
    except ImportError:
        return {}
    folder = Path(housemodel.weights_folder())
    return {"house": folder} if (folder / "model_index.json").is_file() else {}


def main(argv: Sequence[str] | None = None) -> int:
    """Run a worker until it is told to end; the exit status."""
    options = parser().parse_args(argv)
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(levelname)s %(name)s: %(message)s")
    from workers.server.serve import serve

    try:
        settings = settings_of(options, os.environ)  # noqa: TID251 - this is where a worker's settings are read
        builtin = {} if options.no_house_model else builtin_models()
        return asyncio.run(
            serve(
                settings,
                builtin=builtin,
                make_backend=lambda: _backend(settings),
                announce=lambda line: _say(line, sys.stdout),
            )
        )
    except SettingsRefused as refused:
        _say(str(refused), sys.stderr)
        return 2
    except OSError as error:
        _say(f"cannot listen on {options.host}:{options.port}: {error.strerror or error}", sys.stderr)
        return 1


def _backend(settings: WorkerSettings) -> Backend:
    # Here, on the engine's thread: this is the import of torch.
    from workers.engine.backend import TorchBackend

    return TorchBackend(device=settings.device, threads=settings.threads)


def _say(line: str, where: TextIO) -> None:
    print(f"darkroom worker: {line}", file=where, flush=True)
