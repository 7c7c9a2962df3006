"""Bad input 64: what people type, and every secret, stays out of the log, whatever LOG_LEVEL says."""

from tests.acceptance.lab import channel_of, eventually, is_picture, open_lab
from tests.fake_worker import FakeWorker

CANARY = "a fox, MTA0MjMxNzI2NTQ5ODIwMjEyMg.GabcdE.canary_token, dk_abcdefgh.canary_key, canary@example.org"


async def test_64_a_prompt_with_a_token_a_key_and_an_address_is_not_in_the_most_talkative_log(tmp_path):
    async with FakeWorker().serve() as worker, open_lab(tmp_path, [worker.url], LOG_LEVEL="DEBUG") as lab:
        record = await lab.imagine("ada", CANARY, negative="canary_negative")
        picture = await eventually(lambda: _picture(lab, channel_of(record)), what="the picture")
        await lab.post("/control/click", {"as": "ada", "message_id": picture["id"], "custom_id": _details(picture)}, wait="answer")
        await lab.imagine("ada", "canary_again", size="0x0")
        assert await lab.host.stop() == 0
        log = lab.host.log.read_text()
        secrets = ("canary", "MTA0MjMxNzI2NTQ5ODIwMjEyMg", lab.rehearsal.token, "/callback")  # an interaction's token is in that address
        found = [line for line in log.splitlines() if any(secret in line for secret in secrets)]
        assert found == []
        assert "DEBUG" in log  # it was talkative


async def _picture(lab, channel_id):
    return next((message for message in await lab.messages(channel_id) if is_picture(message)), None)


def _details(message):
    stack, found = list(message["components"]), []
    while stack:
        part = stack.pop()
        found.append(part.get("custom_id") or "")
        stack += part.get("components") or []
    return next(custom_id for custom_id in found if ":details:" in custom_id)
