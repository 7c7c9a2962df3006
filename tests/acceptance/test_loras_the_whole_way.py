"""Several people, each with LoRAs of their own, through the host's HTTP door and one real worker: judged from the pixels."""

import asyncio
import io

import aiohttp
import pytest
from PIL import Image

from gateway.auth import make_key
from housemodel.captions import parse
from housemodel.styles import compare_styled, read_styles
from tests.acceptance.lab import Lab, eventually, open_lab, open_worker

WISHES = {
    "ada": ("a red star in the center on a cyan background", [("house-night", 1.0)], ("night",)),
    "bruno": ("a green heart in the center on a white background", [], ()),
    "chen": ("a yellow circle in the center on a purple background", [("house-night", 1.0)], ("night",)),
    "dana": ("an orange square in the center on a blue background", [("house-dots", 1.0)], None),
    "eli": ("a white square in the center on a red background", [("house-outline", 1.0)], None),
    "fay": ("a pink cross in the center on a green background", [], ()),
}
"""Who, what, with which LoRAs, and which styles must be read; None where the style is read in most pictures, not in all."""


class Member:
    """A person at the HTTP door."""

    def __init__(self, lab: Lab, name: str, secret: str) -> None:
        self.lab = lab
        self.name = name
        self.headers = {"Authorization": f"Bearer {secret}"}

    async def ask(self, prompt: str, loras: list[tuple[str, float]], **more) -> tuple[int, dict]:
        body = {"prompt": prompt, "loras": [{"name": name, "weight": weight} for name, weight in loras], "steps": 12, "seed": 5, **more}
        async with self.lab.web.post(f"{self.lab.studio}/api/v1/jobs", json=body, headers=self.headers) as answer:
            return answer.status, await answer.json()

    async def done(self, job: str) -> dict | None:
        async with self.lab.web.get(f"{self.lab.studio}/api/v1/jobs/{job}", headers=self.headers) as answer:
            told = await answer.json()
        assert told["status"] not in ("failed", "expired", "quarantined"), told
        return told if told["status"] == "done" else None

    async def picture(self, job: str) -> Image.Image:
        async with self.lab.web.get(f"{self.lab.studio}/api/v1/jobs/{job}/image", headers=self.headers) as answer:
            assert answer.status == 200
            return Image.open(io.BytesIO(await answer.read())).convert("RGB")


@pytest.mark.timeout(400)
async def test_each_person_gets_the_picture_of_their_own_words_and_loras(tmp_path):
    keys = {name: make_key(name) for name in WISHES}
    lines = ",".join(line for _, line in keys.values())
    async with open_worker(tmp_path) as (_, worker), open_lab(tmp_path, [worker], API_KEYS=lines) as lab:
        people = {name: Member(lab, name, secret) for name, (secret, _) in keys.items()}
        await eventually(lambda: offered(lab, people["ada"]), seconds=60, what="the worker's LoRAs at the door")
        asked = await asyncio.gather(*(people[name].ask(prompt, loras) for name, (prompt, loras, _) in WISHES.items()))
        assert [status for status, _ in asked] == [201] * len(asked), asked
        for name, (_, job) in zip(WISHES, asked, strict=True):
            prompt, _, styles = WISHES[name]
            await eventually(lambda name=name, job=job: people[name].done(job["id"]), seconds=200, what=f"{name}'s picture")
            picture = await people[name].picture(job["id"])
            if styles is not None:
                seen = read_styles(picture)
                assert (seen.night, seen.outline, seen.dots) == ("night" in styles, False, False), (name, seen)
                verdict = compare_styled(picture, parse(prompt), styles)
                assert verdict.tells_apart, (name, verdict.seen.describe())
        status, refused = await people["ada"].ask("a cat", [("nowhere", 1.0)])
        assert (status, refused["error"]["code"]) == (422, "unknown_lora")
        status, _ = await people["ada"].ask("a cat", [("house-night", 2.1)])
        assert status == 422


async def offered(lab: Lab, member: Member) -> bool:
    """Whether the door tells of the house's LoRAs."""
    try:
        async with lab.web.get(f"{lab.studio}/api/v1/models", headers=member.headers) as answer:
            told = await answer.json()
    except aiohttp.ClientError:
        return False
    return {"house-night", "house-outline", "house-dots"} <= {lora["name"] for lora in told.get("loras", [])}
