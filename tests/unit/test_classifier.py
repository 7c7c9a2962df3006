"""The output classifier over HTTP, against a judge that answers as it likes: only a plain yes in time is a yes."""

import asyncio
import io
import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import aiohttp
import pytest
from aiohttp import web
from PIL import Image

from jobs.job import Picture
from jobs.judging import JudgeAway, Verdict, refused
from jobs.request import Order
from workers.classifier import ANSWER_MAX, AT_ONCE, HttpClassifier
from workers.inspection import redraw

ORDER = Order(prompt="a secret wish", model="house", width=64, height=64, steps=3, guidance=3.0, seed=7)
PICTURE = Picture(index=0, sha256="0" * 64, content_type="image/png", size=9, width=64, height=64, seed=7)


def _drawn() -> bytes:
    out = io.BytesIO()
    Image.new("RGB", (64, 64), "red").save(out, "PNG")
    return redraw(out.getvalue(), ORDER)


class Judge:
    """Answers every question with ``say``."""

    def __init__(self, say) -> None:
        self.say = say
        self.asked: list[tuple[dict[str, str], bytes]] = []
        self.elsewhere = 0
        self.url = ""
        self.most = self._now = 0

    async def answer(self, request: web.Request) -> web.StreamResponse:
        self._now += 1
        self.most = max(self.most, self._now)
        try:
            self.asked.append((dict(request.headers), await request.read()))
            return await self.say(request)
        finally:
            self._now -= 1

    async def other(self, _: web.Request) -> web.Response:
        self.elsewhere += 1
        return web.json_response({"allowed": True})


@asynccontextmanager
async def judged_by(say, **options) -> AsyncIterator[tuple[HttpClassifier, Judge]]:
    judge = Judge(say)
    app = web.Application(client_max_size=2**26)
    app.add_routes([web.post("/judge", judge.answer), web.route("*", "/other", judge.other)])
    runner = web.AppRunner(app, shutdown_timeout=0.1)
    await runner.setup()
    try:
        await web.TCPSite(runner, "127.0.0.1", 0).start()
        judge.url = url = f"http://127.0.0.1:{runner.addresses[0][1]}/judge"
        async with aiohttp.ClientSession() as session:
            yield HttpClassifier(session=session, url=url, **({"seconds": 5.0} | options)), judge
    finally:
        await runner.cleanup()


def telling(text: str | bytes, status: int = 200):
    async def say(_: web.Request) -> web.Response:
        return web.Response(body=text, status=status)

    return say


async def test_a_yes_is_a_yes_and_the_judge_gets_the_picture_without_its_words():
    async with judged_by(telling('{"allowed": true}'), token="tok") as (classifier, judge):
        data = _drawn()
        assert b"a secret wish" in data
        assert await classifier.judge(data, PICTURE) == Verdict(allowed=True)
    ((headers, body),) = judge.asked
    assert (headers["Content-Type"], headers["Authorization"]) == ("image/png", "Bearer tok")
    assert b"secret" not in body
    assert Image.open(io.BytesIO(body)).convert("RGB").getpixel((0, 0)) == (255, 0, 0)


async def test_a_no_has_its_reason_in_plain_characters():
    told = json.dumps({"allowed": False, "reason": "<@&1> [nudity](http://x) **" + "y" * 999})
    async with judged_by(telling(told)) as (classifier, _):
        verdict = await classifier.judge(_drawn(), PICTURE)
    assert not verdict.allowed
    assert verdict.reason.startswith("1 nudity(httpx) yyy")
    assert len(verdict.reason) == 120


@pytest.mark.parametrize(
    "told",
    [
        '{"allowed": "true"}', '{"allowed": 1}', '{"allowed": null}', "{}", "[true]", "true", "", "<html>", b"\xff\xfe", '{"allowed": true',
        "[" * 9000, '{"allowed": ' + "9" * 9000 + "}", '{"allowed": true}' + " " * ANSWER_MAX,
    ],
    ids=["text", "one", "null", "empty", "list", "bare", "nothing", "html", "no-text", "cut", "deep", "long-number", "huge"],
)  # fmt: skip
async def test_whatever_is_no_plain_answer_is_no_verdict(told):
    async with judged_by(telling(told)) as (classifier, _):
        with pytest.raises(JudgeAway):
            await classifier.judge(_drawn(), PICTURE)


@pytest.mark.parametrize("status", [201, 204, 401, 500])
async def test_another_status_is_no_verdict(status):
    async with judged_by(telling('{"allowed": true}' if status != 204 else "", status)) as (classifier, _):
        with pytest.raises(JudgeAway, match=str(status)):
            await classifier.judge(_drawn(), PICTURE)


async def test_a_redirect_is_not_followed():
    async def away(_: web.Request) -> web.Response:
        raise web.HTTPTemporaryRedirect("/other")

    async with judged_by(away) as (classifier, judge):
        with pytest.raises(JudgeAway):
            await classifier.judge(_drawn(), PICTURE)
    assert judge.elsewhere == 0


async def test_an_answer_without_end_and_a_slow_one_end_with_the_time_or_the_size():
    async def drip(request: web.Request) -> web.StreamResponse:
        response = web.StreamResponse()
        await response.prepare(request)
        while True:
            await response.write(b" ")
            await asyncio.sleep(0.02)

    async def flood(request: web.Request) -> web.StreamResponse:
        response = web.StreamResponse()
        await response.prepare(request)
        while True:
            await response.write(b" " * 4096)

    async with judged_by(drip, seconds=0.3) as (classifier, _):
        with pytest.raises(JudgeAway, match="TimeoutError"):
            await classifier.judge(_drawn(), PICTURE)
    async with judged_by(flood, seconds=30) as (classifier, _):
        with pytest.raises(JudgeAway, match="more than"):
            await classifier.judge(_drawn(), PICTURE)


@pytest.mark.parametrize("open_without", [False, True])
async def test_a_judge_that_is_not_there_lets_nothing_through_unless_that_was_said(open_without):
    async with aiohttp.ClientSession() as session:
        classifier = HttpClassifier(session=session, url="http://127.0.0.1:9/judge", open_without=open_without)
        if open_without:
            assert (await classifier.judge(_drawn(), PICTURE)).allowed
        else:
            with pytest.raises(JudgeAway):
                await classifier.judge(_drawn(), PICTURE)


async def test_open_without_a_judge_is_not_open_against_a_no():
    async with judged_by(telling('{"allowed": false}'), open_without=True) as (classifier, _):
        assert not (await classifier.judge(_drawn(), PICTURE)).allowed


async def test_pictures_of_a_set_are_judged_together_but_not_all_at_once():
    async def slow(_: web.Request) -> web.Response:
        await asyncio.sleep(0.05)
        return web.json_response({"allowed": True})

    async with judged_by(slow) as (classifier, judge):
        assert await refused(classifier, [(_drawn(), PICTURE)] * 10) is None
    assert len(judge.asked) == 10
    assert judge.most == AT_ONCE
