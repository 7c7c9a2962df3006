"""The ComfyUI servers of one host: their addresses and keys, and the one HTTP session that they share."""

import ipaddress
import re
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from types import SimpleNamespace
from typing import NoReturn

import aiohttp
from yarl import URL

from flows.comfy import ComfyFlow
from jobs.errors import WorkerUnreachable
from workers.drivers.comfy.errand import ReadPicture
from workers.drivers.comfy.patience import Patience
from workers.drivers.comfy.worker import ComfyWorker


class AddressError(ValueError):
    """An address or a key cannot be used; the sentence says why."""


def keys_of(text: str | None, urls: Sequence[str]) -> dict[str, str | None]:
    """COMFY_API_KEY by URL: one key for all, or items ``url=key`` separated by commas, with or without one for the others.

    A key is a token, or ``user:password`` for basic authentication. Raises AddressError for a URL that is not among ``urls``.
    """
    named: dict[str, str] = {}
    common: str | None = None
    for item in (part for part in re.split(r"[\s,]+", text or "") if part):
        url = next((url for url in sorted(urls, key=len, reverse=True) if item.startswith((f"{url}=", f"{url}/="))), None)
        if url is not None:
            named[url] = item.removeprefix(url).lstrip("/").removeprefix("=")
        elif item.startswith(("http://", "https://")):
            raise AddressError(f"COMFY_API_KEY names {item.partition('=')[0][:100]}, which is not in COMFY_URLS.")
        elif common is not None:
            raise AddressError("COMFY_API_KEY has two keys without an address; write url=key for each.")
        else:
            common = item
    return {url: named.get(url, common) for url in urls}


def check_address(url: str, *, plain_allowed: bool = False) -> None:
    """Refuse what cannot be a GPU server, and passwords and prompts in the clear over the internet. Raises AddressError."""
    host = URL(url).host or ""
    try:
        address = ipaddress.ip_address(host)
    except ValueError:
        return
    if address.is_loopback:
        return
    if address.is_link_local or address.is_multicast or address.is_unspecified or address.is_reserved:
        raise AddressError(f"{url} is no address of a ComfyUI server.")
    if address.is_global and URL(url).scheme == "http" and not plain_allowed:
        raise AddressError(f"{url} would carry everybody's words in the clear over the internet: use https, a private network or a tunnel.")


def session_for_comfy() -> aiohttp.ClientSession:
    """A session that stores no cookies and follows no redirect, not even at a socket's handshake: its target would get the key."""

    async def refuse(_session: aiohttp.ClientSession, _context: SimpleNamespace, _told: aiohttp.TraceRequestRedirectParams) -> NoReturn:
        raise WorkerUnreachable("worker_unreachable", reason="it redirects elsewhere, which is not followed")

    trace = aiohttp.TraceConfig()
    trace.on_request_redirect.append(refuse)
    return aiohttp.ClientSession(cookie_jar=aiohttp.DummyCookieJar(), trace_configs=[trace])


@asynccontextmanager
async def open_comfy(
    urls: Sequence[str],
    *,
    flows: Sequence[ComfyFlow],
    read_picture: ReadPicture,
    keys: Mapping[str, str | None],
    patience: Patience | None = None,
) -> AsyncIterator[list[ComfyWorker]]:
    """A driver for each URL, named by it without the scheme: stable over restarts, since leases carry it."""
    async with AsyncExitStack() as stack:
        session = await stack.enter_async_context(session_for_comfy())
        yield [
            await stack.enter_async_context(
                ComfyWorker(
                    name=url.partition("://")[2],
                    url=url,
                    session=session,
                    flows=flows,
                    read_picture=read_picture,
                    key=keys.get(url),
                    patience=patience,
                )
            )
            for url in urls
        ]
