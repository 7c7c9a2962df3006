"""How soon a command is acknowledged under load, and how soon after the last step the picture is posted.

The rehearsal and a worker without a GPU run beside the real host on this machine. ``raw_ack_p50_ms`` is the baseline: the same host
answering one command at a time. ``--crowd`` asks as 2,000 members, 200 times a second for a minute, under Discord's own rate limits.
``--guild`` looks at a large server.
"""

import argparse
import asyncio
import json
import statistics
from collections.abc import Sequence
from typing import Any

from benchmarks.processes import WIDE, cpu_seconds, lab_with_fake_worker, rss_mib
from rehearsal.clock import Snowflakes
from tests.acceptance.lab import MEMBERS, Lab, button, eventually, is_picture, texts


def percentile(values: list[float], share: float) -> float:
    """The nearest-rank percentile, rounded to a tenth."""
    return round(sorted(values)[min(len(values) - 1, int(share * len(values)))], 1)


async def acks(lab: Lab, *, per_second: float, seconds: float) -> list[float]:
    """Milliseconds from interaction to acknowledgement, at a steady rate; refusals for the waiting limit are answers too."""
    lobby = await lab.channel_id("welcome")

    async def one(number: int) -> float:
        await asyncio.sleep(number / per_second)
        member = MEMBERS[number % len(MEMBERS)]
        body = {"as": member, "channel_id": lobby, "name": "imagine", "options": {"prompt": f"a star, number {number}", "steps": 2}}
        record: dict[str, Any] = await lab.post("/control/slash", body, wait="ack", timeout_s="20")
        return record["acked_after_ms"] if record["state"] == "acked" else float("inf")

    return list(await asyncio.gather(*(one(n) for n in range(int(per_second * seconds)))))


async def autocompletes(lab: Lab, *, rounds: int, names: Sequence[str] = MEMBERS) -> list[float]:
    """Milliseconds from typing to suggestions, for models, LoRAs and sizes in turn, eight members at once."""
    lobby = await lab.channel_id("welcome")
    found: list[float] = []

    async def one(number: int) -> None:
        focused, typed = (("model", "h"), ("lora", "f"), ("size", "1"))[number % 3]
        options = {"prompt": "x", focused: typed}
        body = {"as": names[number % len(names)], "channel_id": lobby, "name": "imagine", "options": options, "focused": focused}
        record: dict[str, Any] = await lab.post("/control/autocomplete", body)
        found.append(record["acked_after_ms"] if record["state"] == "acked" else float("inf"))

    for start in range(0, rounds, 8):
        await asyncio.gather(*(one(number) for number in range(start, min(start + 8, rounds))))
    return found


async def own_429(lab: Lab) -> tuple[int, int]:
    """(requests that Discord's stand-in refused for being too many, all requests)."""
    async with lab.web.get(f"{lab.rehearsal.url}/control/limits") as answer:
        limits = await answer.json()
    return limits["rate_limited"], limits["requests"]


async def last_step_to_message_ms(lab: Lab, worker: Any, *, rounds: int) -> list[float]:
    """Milliseconds from the worker's last step to the arrival of the picture's message, one request at a time.

    The message's own id says when it came, by the clock of the stand-in: whoever looks for it all the time slows down what is measured.
    """
    found: list[float] = []
    for number in range(rounds):
        wish = f"a moon, number {number} of many"
        worker.gate.clear()
        await lab.imagine(MEMBERS[number % 6], wish, steps=1)
        await eventually(lambda: _stands(worker, wish), what="a run that stands after its last step")
        started = lab.rehearsal.twin.clock.now()
        worker.gate.set()
        message = await eventually(lambda: _picture_of(lab, wish), pause=0.2, what="the picture")
        found.append((Snowflakes.seconds(int(message["id"])) - started) * 1000)
    return found


async def _stands(worker: Any, wish: str) -> bool:
    await asyncio.sleep(2 * worker.step_seconds)  # its one step
    return any(wish == order["prompt"] for order in worker.orders.values())


async def _picture_of(lab: Lab, wish: str) -> dict[str, Any] | None:
    return next((message for message in await lab.everything() if is_picture(message) and wish in texts(message)), None)


async def measure(*, quick: bool, rate: float = 50.0) -> dict[str, float]:
    """All figures of this benchmark."""
    async with lab_with_fake_worker() as (lab, worker):
        for member in MEMBERS:  # everybody has their studio: its making is measured elsewhere
            await lab.imagine(member, "a star to begin with", steps=1)
        alone = await acks(lab, per_second=2, seconds=5)
        loaded = await acks(lab, per_second=rate, seconds=5 if quick else 30)
        await eventually(lambda: _drained(lab), seconds=300, what="an empty queue")
        latency = await last_step_to_message_ms(lab, worker, rounds=6 if quick else 20)
        completed = await autocompletes(lab, rounds=60 if quick else 600)
        refused, requests = await own_429(lab)
        memory = rss_mib(lab.host.pid)
    return {
        "raw_ack_p50_ms": percentile(alone, 0.5), "ack_p50_ms": percentile(loaded, 0.5), "ack_p99_ms": percentile(loaded, 0.99),
        "late_acks": sum(ms > 3000 for ms in loaded), "last_step_to_message_ms": round(statistics.median(latency), 1),
        "autocomplete_p99_ms": percentile(completed, 0.99), "own_429": refused, "requests": requests, "rss_mib": memory,
    }  # fmt: skip


async def join(lab: Lab, count: int) -> list[str]:
    """So many more members of the guild; their names."""
    names = [f"crowd{number:04d}" for number in range(count)]
    guild = lab.rehearsal.info()["guild_ids"][0]
    for name in names:
        await lab.post("/control/members", {"guild_id": guild, "username": name})
    return names


CROWD_COMMANDS = ("imagine", "imagine", "imagine", "queue", "status", "quota")


async def crowd_acks(lab: Lab, names: list[str], *, per_second: float, seconds: float) -> list[float]:
    """As :func:`acks`, each member in turn: half of it requests for pictures, the rest questions."""
    lobby = await lab.channel_id("welcome")

    async def one(number: int) -> float:
        await asyncio.sleep(number / per_second)
        name = CROWD_COMMANDS[number % len(CROWD_COMMANDS)]
        options = {"prompt": f"a star, number {number}", "steps": 2} if name == "imagine" else {}
        body = {"as": names[number % len(names)], "channel_id": lobby, "name": name, "options": options}
        record: dict[str, Any] = await lab.post("/control/slash", body, wait="ack", timeout_s="20")
        return record["acked_after_ms"] if record["state"] == "acked" else float("inf")

    return list(await asyncio.gather(*(one(n) for n in range(int(per_second * seconds)))))


async def measure_crowd(*, members: int, rate: float, seconds: float) -> dict[str, float]:
    """A crowd under Discord's own limits: what is asked is acknowledged at once, what is posted waits for its turn."""
    async with lab_with_fake_worker(limits={}) as (lab, _):
        names = await join(lab, members)
        alone = await acks(lab, per_second=2, seconds=5)
        before, busy = rss_mib(lab.host.pid), cpu_seconds(lab.host.pid)
        loaded = await crowd_acks(lab, names, per_second=rate, seconds=seconds)
        after, busy = rss_mib(lab.host.pid), cpu_seconds(lab.host.pid) - busy
        refused, requests = await own_429(lab)
    return {
        "raw_ack_p50_ms": percentile(alone, 0.5), "ack_p50_ms": percentile(loaded, 0.5), "ack_p99_ms": percentile(loaded, 0.99),
        "late_acks": sum(ms > 3000 for ms in loaded), "acks": len(loaded), "own_429_share": round(refused / max(1, requests), 4),
        "cpu_ms_each": round(busy / len(loaded) * 1000, 2), "rss_before_mib": before, "rss_after_mib": after,
    }  # fmt: skip


async def measure_guild(*, members: int, channels: int) -> dict[str, float]:
    """A large guild, with the members intent on: the bot's memory, and autocomplete for its members in turn."""
    limits = {**WIDE, "members_intent": True}
    async with lab_with_fake_worker(limits=limits, started=False, MEMBERS_INTENT="yes") as (lab, _):
        names = await join(lab, members)
        guild = lab.rehearsal.info()["guild_ids"][0]
        for number in range(channels):
            await lab.post("/control/channels", {"guild_id": guild, "name": f"room-{number}", "type": 0})
        await lab.host.start()
        await lab.up()
        before = rss_mib(lab.host.pid)
        completed = await autocompletes(lab, rounds=600, names=names)
        await acks(lab, per_second=10, seconds=10)
        after = rss_mib(lab.host.pid)
    figures = {"rss_before_mib": before, "rss_mib": after, "autocomplete_p99_ms": percentile(completed, 0.99)}
    return {"members": members, "channels": channels, **figures}


async def _drained(lab: Lab) -> bool:
    """Nobody waits, and no message comes any more."""
    before = [message["id"] for message in await lab.everything()]
    await asyncio.sleep(2)
    async with lab.web.get(f"{lab.studio}/health") as answer:
        health = await answer.json()
    after = await lab.everything()
    return not health["queue_length"] and [m["id"] for m in after] == before and not any(button(m, "cancel") for m in after)


def main() -> None:
    """Print the figures; the last line is one JSON object."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--quick", action="store_true")
    parser.add_argument("--rate", type=float, default=50.0, help="commands a second under load")
    parser.add_argument("--crowd", action="store_true", help="2,000 members, 200 commands a second, for a minute (--quick: ten seconds)")
    parser.add_argument("--guild", action="store_true", help="10,000 members and 480 channels: memory and autocomplete")
    chosen = parser.parse_args()
    if chosen.guild:
        figures = asyncio.run(measure_guild(members=10_000, channels=480))
    elif chosen.crowd:
        figures = asyncio.run(measure_crowd(members=2000, rate=200.0, seconds=10 if chosen.quick else 60))
    else:
        figures = asyncio.run(measure(quick=chosen.quick, rate=chosen.rate))
    for name, figure in figures.items():
        print(f"{name:26} {figure}")
    print(json.dumps(figures))


if __name__ == "__main__":
    main()
