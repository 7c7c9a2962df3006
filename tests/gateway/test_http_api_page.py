"""docs/http-api.md tells the truth: its requests are sent, its program runs, and no code or route is missing."""

import asyncio
import re
import sys
from pathlib import Path

from tests.gateway.studio import served

ROOT = Path(__file__).resolve().parents[2]
PAGE = (ROOT / "docs" / "http-api.md").read_text(encoding="utf-8")
BLOCK = re.compile(r"```http\n(\S+) (\S+)\n(.*?)```\n→ (\d+)", re.DOTALL)


async def test_every_request_on_the_page_gets_the_answer_that_stands_behind_it(studio):
    job = await studio.ended((await studio.ask("web:local")).id)
    sent = 0
    async with studio.client() as client:
        for method, path, rest, status in BLOCK.findall(PAGE):
            head, _, body = rest.partition("\n\n")
            headers = dict(line.split(": ", 1) for line in head.splitlines() if line)
            answer = await client.request(method, path.replace("{id}", job.id), headers=headers, content=body.strip().encode())
            assert (method, path, answer.status_code) == (method, path, int(status)), answer.text
            sent += 1
    assert sent == PAGE.count("```http")


async def test_its_program_gets_the_picture(studio, tmp_path):
    code = re.search(r"```python\n(.*?)```", PAGE, re.DOTALL)[1]
    async with served(studio) as base:
        program = code.replace("http://127.0.0.1:7860", base).replace("sleep(1)", "sleep(0.05)")
        process = await asyncio.create_subprocess_exec(sys.executable, "-W", "ignore", "-c", program, cwd=tmp_path)
        async with asyncio.timeout(60):
            assert await process.wait() == 0
    assert (tmp_path / "star.png").read_bytes().startswith(b"\x89PNG")


def test_every_code_of_this_door_is_on_the_page():
    code = "\n".join(path.read_text(encoding="utf-8") for path in (ROOT / "gateway").rglob("*.py"))
    raised = set(re.findall(r'(?:Refusal\(\s*\d+,|Refusal\(error\.status_code,|InvalidRequest\()\s*"(\w+)"', code))
    raised |= {"not_whole", "not_number", "not_text"}
    assert len(raised) > 25
    assert {name for name in raised if f"`{name}`" not in PAGE} == set()


def test_every_code_of_this_door_has_its_sentence():
    from jobs.words import catalogue

    told = set(re.findall(r"`([a-z_]+)`", PAGE.split("## When it is refused")[1].split("| status |")[1]))
    assert len(told) > 35
    assert {name for name in told if f"error.{name}" not in catalogue()} == set()


def test_every_route_is_on_the_page(studio):
    paths = {path.replace("{job_id}", "{id}") for path in studio.app.openapi()["paths"]}
    assert len(paths) >= 9
    assert {path for path in paths if path not in PAGE} == set()
