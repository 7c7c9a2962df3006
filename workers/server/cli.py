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
from typing import TYPE_CHECKING, Any, TextIO

from jobs.log_lines import log_to
from workers.engine.catalog import Builtin
from workers.engine.errors import EngineError
from workers.engine.loras.library import LoraLibrary
from workers.server.settings import SettingsRefused, WorkerSettings

if TYPE_CHECKING:
    from workers.engine.backend import TorchBackend

TOKEN_VARIABLE = "DARKROOM_WORKER_TOKEN"  # noqa: S105 - the name of the variable, not a token
VARIABLES = (TOKEN_VARIABLE, "WORKER_HOST", "WORKER_PORT", "WORKER_NAME", "MODELS", "LOG_LEVEL")


def parser(environment: Mapping[str, str]) -> argparse.ArgumentParser:
    """The options. What the environment names is their default."""
    made = argparse.ArgumentParser(
        prog="darkroom worker",
        description="Make pictures on this machine's GPU or CPU for a darkroom host.",
        epilog=f"{', '.join(VARIABLES)} are read from the environment or .env where the option is not given.",
    )

    def option(name: str, default: object, told: str, **more: Any) -> None:
        made.add_argument(name, default=default, help=f"{told} ({default})" if default is not None else told, **more)

    option("--host", environment.get("WORKER_HOST") or "127.0.0.1", "address to listen on; off loopback give a token")
    option("--port", environment.get("WORKER_PORT") or "7870", "port to listen on, 0 for any", type=int)
    models = environment.get("MODELS") or "models"
    option("--models", models, "folder with models in diffusers layout or .safetensors", type=Path)
    option("--name", environment.get("WORKER_NAME") or platform.node() or "worker", "what the host calls this worker")
    option("--token", None, f"what the host must send; better set {TOKEN_VARIABLE}, which other users cannot see")
    option("--threads", None, "CPU threads for the model; torch decides where it is not given", type=int)
    option("--max-batch", 8, "the most pictures made at once", type=int)
    option("--models-in-memory", 2, "how many models stay loaded", type=int)
    option("--device", "auto", "what to compute on", choices=("auto", "cuda", "rocm", "mps", "cpu"))
    option("--memory-gib", None, "plan as if the card had so much memory", type=float)
    made.add_argument("--all", action="store_true", help="one worker for each GPU, on ports counted from --port; implies --supervise")
    made.add_argument("--supervise", action="store_true", help="start the worker again when its engine dies")
    made.add_argument("--calibrate", action="store_true", help="measure every model once, keep the figures, and end")
    made.add_argument("--no-house-model", action="store_true", help="do not offer the model that comes with darkroom")
    return made


def read_environment(dotenv: Path = Path(".env")) -> dict[str, str]:
    """The worker's own variables, from ``.env`` and the environment, which wins. No other variable is looked at."""
    from dotenv import dotenv_values

    given = {**dotenv_values(dotenv, interpolate=False), **os.environ}  # noqa: TID251 - a worker's settings begin here
    return {name: value for name in VARIABLES if (value := given.get(name))}


def settings_of(options: argparse.Namespace, environment: Mapping[str, str]) -> WorkerSettings:
    """The settings that a command line and an environment mean. Raises SettingsRefused."""
    if options.threads is not None and not 1 <= options.threads <= 1024:
        raise SettingsRefused("--threads must be from 1 to 1024.")
    if not 0 <= options.port <= 65535:
        raise SettingsRefused("--port must be from 0 to 65535.")
    if not 1 <= options.models_in_memory <= 16:
        raise SettingsRefused("--models-in-memory must be from 1 to 16.")
    if options.memory_gib is not None and not 0.5 <= options.memory_gib <= 4096:
        raise SettingsRefused("--memory-gib must be from 0.5 to 4096.")
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
        memory_limit=None if options.memory_gib is None else int(options.memory_gib * 2**30),
    )


def builtin_models() -> dict[str, Builtin]:
    """The models that come with darkroom, by name; empty where they were left out of the installation."""
    try:
        import housemodel
    except ImportError:
        return {}
    folder = Path(housemodel.weights_folder())
    if not (folder / "model_index.json").is_file():
        return {}
    motion = Path(housemodel.motion_folder())
    # Drawn for 128 pixels, it fills a larger canvas with more shapes instead of refining those there.
    return {
        "house": Builtin(
            path=folder, without=frozenset({"upscale"}), motion=motion if (motion / "config.json").is_file() else None
        )
    }


def builtin_loras() -> dict[str, Path]:
    """The LoRAs that come with the house model, by name."""
    import housemodel

    found = sorted(Path(housemodel.loras_folder()).glob("*.safetensors"))
    return {path.stem: path for path in found if not path.stem.endswith(".kohya")}  # the same ones again, in another dialect


def main(argv: Sequence[str] | None = None) -> int:
    """Run a worker until it is told to end; the exit status."""
    environment = read_environment()
    options = parser(environment).parse_args(argv)
    level = logging.getLevelNamesMapping().get(environment.get("LOG_LEVEL", "INFO").upper(), logging.INFO)
    log_to(level=level, layout="%(asctime)s %(levelname)s %(name)s: %(message)s")
    from workers.server.serve import serve

    try:
        settings = settings_of(options, environment)
        if options.all or options.supervise:
            settings.check()
            return asyncio.run(_supervise(settings, sys.argv[1:] if argv is None else argv, each_gpu=options.all))
        builtin = {} if options.no_house_model else builtin_models()
        if options.calibrate:
            return _calibrate(settings, builtin)
        library = LoraLibrary(settings.models and settings.models / "loras", builtin_loras() if builtin else {})
        return asyncio.run(
            serve(
                settings,
                builtin=builtin,
                library=library,
                make_backend=lambda: _backend(settings, library),
                announce=lambda line: _say(line, sys.stdout),
            )
        )
    except SettingsRefused as refused:
        _say(str(refused), sys.stderr)
        return 2
    except EngineError as error:
        _say(str(error), sys.stderr)
        return 1
    except OSError as error:
        _say(f"cannot listen on {options.host}:{options.port}: {error.strerror or error}", sys.stderr)
        return 1


async def _supervise(settings: WorkerSettings, argv: Sequence[str], *, each_gpu: bool) -> int:
    from workers.server import supervisor

    environment = dict(os.environ)  # noqa: TID251 - children get what this process was given
    variable, gpus = await supervisor.find_gpus(environment) if each_gpu else ("", [])
    own = [word for word in argv if word not in ("--all", "--supervise")]
    children = supervisor.children_of(own, name=settings.name, port=settings.port, variable=variable, gpus=gpus, environment=environment)
    _say(f"keeping {len(children)} worker{'s' if len(children) > 1 else ''} alive", sys.stdout)
    return await supervisor.Supervisor(children, announce=lambda line: _say(line, sys.stdout)).run()


def _calibrate(settings: WorkerSettings, builtin: Mapping[str, Builtin]) -> int:
    from workers.server import calibration

    if settings.measured is None:
        raise SettingsRefused("--calibrate keeps its figures beside the models; name their folder with --models.")
    return calibration.run(
        _backend(settings, LoraLibrary(None)),
        models=settings.models,
        builtin=builtin,
        measured=settings.measured,
        rows_max=settings.max_batch,
        announce=lambda line: _say(line, sys.stdout),
    )


def _backend(settings: WorkerSettings, library: LoraLibrary) -> TorchBackend:
    # Here, on the engine's thread: this is the import of torch.
    try:
        from workers.engine.backend import TorchBackend
    except ImportError as error:
        detail = f"The worker's packages are not all installed ({error}): pip install 'darkroom[worker]'."
        raise EngineError(detail) from error
    return TorchBackend(
        device=settings.device,
        threads=settings.threads,
        find_lora=library.find,
        memory_limit=settings.memory_limit,
        measured=settings.measured,
    )


def _say(line: str, where: TextIO) -> None:
    print(f"darkroom worker: {line}", file=where, flush=True)
