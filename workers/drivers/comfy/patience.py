"""How long the driver waits for a ComfyUI server."""

from dataclasses import dataclass


@dataclass(frozen=True, kw_only=True)
class Patience:
    """Seconds."""

    connect: float = 5
    answer: float = 30
    probe: float = 10
    probe_every: float = 120
    """Between two readings of what the server has: one costs forty calls. Its health is asked at every report, and after a failure
    or a refusal everything is read anew."""
    transfer: float = 60
    gather: float = 0.25
    """For the other runs of one lease to arrive: the dispatcher starts them one after another within milliseconds."""
    socket: float = 3
    """For a socket to open before a prompt is posted; without one it is followed by HTTP alone."""
    linger: float = 120
    """How long an unused socket is kept."""
    ping: float = 20
    poll: float = 2
    poll_talking: float = 5
    """Between looks at a prompt while its socket talks."""
    poll_ending: float = 0.05
    """Between looks once its end was told: history may come milliseconds later."""
    doubt: tuple[float, ...] = (0.3, 1.0, 2.0)
    """Before each look for a prompt whose posting was never answered."""
    outage: float = 30
    """Of looks at a prompt that fail, before its server counts as gone: one slow answer or a blink of the network does not."""
    missing: float = 1
    """Between the two looks that make a prompt lost."""
    first_step: float = 600
    """Without any sign of life before the first step: a model of many gigabytes may be loading."""
    between_steps: float = 60
    tell: float = 20
    """Between signs of life to whoever follows a run."""
