"""Addresses and keys of ComfyUI servers, as an operator writes them."""

import pytest

from bot.settings import SettingsError, read_settings
from tests.comfy.conftest import FLOWS, run_of
from workers.drivers.comfy.check import check_flows
from workers.drivers.comfy.fleet import AddressError, check_address, keys_of, open_comfy, session_for_comfy

URLS = ("http://gpu1:8188", "http://gpu2:8188", "https://x.example/comfy")


@pytest.mark.parametrize(
    ("text", "keys"),
    [
        (None, (None, None, None)),
        ("secret", ("secret", "secret", "secret")),
        ("user:pa=ss", ("user:pa=ss",) * 3),
        ("http://gpu1:8188=a, http://gpu2:8188/=u:b", ("a", "u:b", None)),
        ("http://gpu1:8188=a=, common", ("a=", "common", "common")),
    ],
)
def test_one_key_for_all_or_one_for_each(text, keys):
    assert tuple(keys_of(text, URLS)[url] for url in URLS) == keys


@pytest.mark.parametrize("text", ["http://gpu9:8188=a", "one two"])
def test_a_key_for_nobody_is_refused(text):
    with pytest.raises(AddressError):
        keys_of(text, URLS)


@pytest.mark.parametrize(
    "url", ["http://169.254.169.254", "http://[fe80::1]:8188", "http://0.0.0.0:8188", "http://224.0.0.1:8188", "http://8.8.8.8:8188"]
)
def test_an_address_that_is_no_gpu_or_would_tell_everybodys_words_is_refused(url):
    with pytest.raises(AddressError):
        check_address(url)


@pytest.mark.parametrize("url", ["http://127.0.0.1:8188", "http://10.0.0.5:8188", "http://gpu1:8188", "https://8.8.8.8", "http://[::1]:8188"])
def test_private_and_encrypted_addresses_are_taken(url):
    check_address(url)


def test_plain_http_to_the_internet_can_be_insisted_on():
    check_address("http://8.8.8.8:8188", plain_allowed=True)


@pytest.mark.parametrize("url", ["file:///etc/passwd", "ftp://gpu1", "gpu1:8188", "http://user:pass@gpu1:8188", "http://gpu1:8188/?x=1"])
def test_what_is_no_address_is_refused_with_the_settings(url):
    with pytest.raises(SettingsError, match="COMFY_URLS"):
        read_settings({"COMFY_URLS": url})


async def test_flows_check_says_what_is_missing_where(pair_with):
    pair = await pair_with(pack=False, files={"ckpt_name": ["sd15.safetensors"], "unet_name": []})
    told = [line async for line in check_flows([pair.server.url, "http://127.0.0.1:9"], FLOWS, {})]
    assert [good for good, line in told if not line.startswith("  ")] == [True, False]
    text = "\n".join(line for _, line in told)
    assert "one by one" in text
    assert "+ sd15 (text_to_image): sd15" in text
    assert f"no file for unet_name (flux1-dev*.gguf or *flux*dev*.gguf) in models/diffusion_models on {pair.server.url}" in text
    assert "ClientConnectorError" in text


async def test_flows_check_tells_a_server_that_can_make_nothing(pair_with):
    pair = await pair_with(files={name: [] for name in ("ckpt_name", "unet_name", "clip_name", "clip_name1", "model_name")})
    told = [line async for line in check_flows([pair.server.url], FLOWS, {})]
    assert not told[0][0]


async def test_no_redirect_is_followed_not_even_by_the_socket(pair):
    async with session_for_comfy() as session:
        pair.server.moods = {"redirect"}
        with pytest.raises(Exception, match="redirects"):
            await session.ws_connect(f"{pair.server.url}/ws?clientId=x")


async def test_fifty_servers_are_opened_and_left_without_a_trace(pair_with):
    pair = await pair_with()
    urls = [pair.server.url, *(f"http://127.0.0.1:{port}" for port in range(1, 50))]
    async with open_comfy(urls, flows=FLOWS, read_picture=pair.read, keys={}) as workers:
        assert len({worker.name for worker in workers}) == 50
        events = [event async for event in workers[0].run(run_of("a"))]
        assert events[-1].pictures
