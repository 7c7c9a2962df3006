"""Servers that claim too much, speak nonsense on the socket, or are not who they say they are."""

import json
import os
import shutil
import ssl
import struct
import subprocess

import pytest
from aiohttp import web

from flows.catalog import FlowError, read_catalog
from flows.server import read_nodes
from jobs.errors import WorkerUnreachable
from tests.comfy.conftest import FLOWS, QUICK
from workers.drivers.comfy.fleet import open_comfy
from workers.drivers.comfy.messages import PREVIEW_MAX, read_binary, read_text
from workers.drivers.comfy.outcome import End, read_outcome


async def no_picture(digest: str) -> bytes:
    raise FileNotFoundError(digest)


async def test_a_server_with_a_hundred_thousand_models_offers_a_bounded_number(pair_with):
    files = [f"sd15/model{number}.safetensors" for number in range(100_000)]
    pair = await pair_with(files={"ckpt_name": files, "lora_name": [f"sd15/{number}.safetensors" for number in range(100_000)]})
    report = await pair.driver.report()
    assert 0 < len(report.models) <= 500
    assert 0 < len(report.loras) <= 2_000


async def test_pickled_checkpoints_are_not_offered(pair_with):
    pair = await pair_with(files={"ckpt_name": ["sd15.ckpt", "sd15.pt", "sd_xl_base.bin"], "lora_name": ["sd15/evil.pt"]})
    report = await pair.driver.report()
    assert not {"sd15", "sd_xl_base"} & {offer.name for offer in report.models}
    assert not report.loras


@pytest.mark.parametrize(
    "frame",
    [
        "", "null", "[]", "3", '"x"', "[" * 100_000, '{"type": "progress"}', '{"type": "progress", "data": []}',
        '{"type": "progress", "data": {"prompt_id": 3}}', '{"data": {"prompt_id": null}}',
    ],
)  # fmt: skip
def test_nonsense_on_the_socket_is_nothing(frame):
    assert read_text(frame) is None


@pytest.mark.parametrize("value", [-5, 1e300, float("inf"), -float("inf"), 10**400, "9", None, True, [], float("nan")])
def test_progress_of_any_value_is_a_bounded_count(value):
    told = read_text(json.dumps({"type": "progress", "data": {"prompt_id": "p", "value": value, "max": value, "node": "sampler"}}))
    assert told is not None
    assert 0 <= told.step <= 100_000


@pytest.mark.parametrize(
    "frame",
    [
        b"", b"\0" * 7, struct.pack(">II", 1, 1) + b"jpeg of nobody", struct.pack(">II", 4, 2**31) + b"{}", struct.pack(">II", 4, 2) + b"{}",
        struct.pack(">II", 4, 3) + b"{x}", struct.pack(">II", 4, 4) + b"\xff\xfe\xff\xfe", struct.pack(">II", 4, 2) + b"[]" + b"x" * (PREVIEW_MAX + 5000),
    ],
)  # fmt: skip
def test_a_preview_that_does_not_say_whose_it_is_is_dropped(frame):
    assert read_binary(frame) is None


@pytest.mark.parametrize(
    "entry",
    [{}, {"status": None}, {"status": {"status_str": "success"}}, {"status": {"messages": 5}}, {"status": {"messages": [1, [2], ["x", None]]}}, {"outputs": []}],
)
def test_a_history_of_any_shape_is_read(entry):
    assert read_outcome(entry, "result").end in (End.DONE, End.INTERRUPTED)


@pytest.mark.parametrize("moment", ["1e999", "-1e999", "NaN", "1" + "0" * 400, "-1e308", '"x"', "null", "[]"])
def test_times_of_any_value_make_an_end_that_took_no_more_than_can_be_told(moment):
    told = '{"status": {"status_str": "success", "messages": [["a", {"timestamp": 1000}], ["b", {"timestamp": 3500}], ["c", {"timestamp": %s}]]}}'
    assert read_outcome(json.loads(told % moment), "result").seconds == 2.5


@pytest.mark.parametrize("part", ["exception_message", "exception_type", "node_type"])
def test_what_an_error_says_is_for_its_person_and_not_among_what_is_logged(part):
    data = {"exception_type": "builtins.RuntimeError", "exception_message": "it went wrong", "node_type": "CLIPTextEncode (pack)"}
    data |= {part: "could not read a very private prompt\nand more"}
    found = read_outcome({"status": {"messages": [["execution_error", data]]}}, "result")
    assert "private" not in found.detail
    assert found.words == data["exception_message"].splitlines()[0]
    if part == "exception_message":
        assert found.detail == "CLIPTextEncode (pack): RuntimeError"


@pytest.fixture
def certificate(tmp_path) -> ssl.SSLContext:
    if shutil.which("openssl") is None:
        pytest.skip("no openssl to make a certificate with")
    key, cert = tmp_path / "key.pem", tmp_path / "cert.pem"
    command = ["openssl", "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-keyout", key, "-out", cert, "-days", "1", "-subj", "/CN=elsewhere"]
    subprocess.run(command, check=True, capture_output=True)
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(cert, key)
    return context


async def test_a_certificate_that_nobody_vouches_for_is_refused_and_named(certificate):
    app = web.Application()
    app.router.add_get("/prompt", lambda _: web.json_response({"exec_info": {"queue_remaining": 0}}))
    runner = web.AppRunner(app)
    await runner.setup()
    site = web.TCPSite(runner, "127.0.0.1", 0, ssl_context=certificate)
    await site.start()
    url = f"https://127.0.0.1:{runner.addresses[0][1]}"
    try:
        async with open_comfy([url], flows=FLOWS, read_picture=no_picture, keys={url: "secret"}, patience=QUICK) as (worker,):
            with pytest.raises(WorkerUnreachable, match="Certificate"):
                await worker.report()
    finally:
        await runner.cleanup()


async def test_files_whose_names_are_no_text_are_not_offered_and_limits_beyond_reason_are_none(pair_with):
    pair = await pair_with(files={"ckpt_name": ["sd15\ud800.safetensors", "sd15.safetensors"], "lora_name": ["sd15/\udfff.safetensors"]})
    report = await pair.driver.report()
    for offer in (*report.models, *report.loras):
        offer.model_dump_json()
    assert "sd15" in {offer.name for offer in report.models}
    assert read_nodes({"N": {"input": {"required": {"x": ["INT", {"min": -(10**400), "max": 10**400}]}}}})["N"].inputs["x"].high is None


@pytest.mark.parametrize("name", [b"caf\xe9", b"a b", b"x\x1b[31m", "ł".encode(), b"-x"])
def test_a_flows_folder_that_cannot_be_told_of_is_refused_with_what_to_do(tmp_path, name):
    os.mkdir(os.path.join(os.fsencode(tmp_path), name))
    with pytest.raises(FlowError, match="letters, digits") as refused:
        read_catalog(more=[tmp_path])
    assert str(refused.value).isascii()
    assert str(refused.value).isprintable()
