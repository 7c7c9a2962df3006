"""The host's composition root: the only place where settings, adapters and doors meet. Opens and closes them in order."""

import asyncio
import contextlib
import logging
import os
import secrets
from collections.abc import AsyncIterator, Coroutine, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from functools import partial
from importlib.metadata import version
from typing import Any

import aiohttp

from bot.board import BoardMaker
from bot.client import DoorOptions, DoorParts, keep_serving
from bot.clock import SystemClock, draw_seed, new_job_id
from bot.cogs.photos.parcels import LinkOf
from bot.discord_address import DiscordAddressError, apply_discord_address
from bot.door_errors import DiscordDoorError
from bot.flow_reload import FlowReload
from bot.hinting import share_hints
from bot.janitor import Janitor
from bot.learning import remember_for_ever
from bot.operate import Operator, commands
from bot.operator_door import Command, listen
from bot.pauses import set_aside
from bot.poster import SEND_TIMEOUT
from bot.presence import StorageInUse, hold_gateway, host_identity, keep_alive
from bot.readings import MetricsReader
from bot.settings import Settings
from database.conduct_store import SqlConductStore
from database.engine import Database, open_database
from database.errors import DatabaseError
from database.fleet_memory import FleetMemory
from database.gallery_store import SqlGalleryStore
from database.hints import Hints
from database.host_leases import HostLeases
from database.inputs import InputMemory
from database.job_store import SqlJobStore
from database.measures import Measures
from database.member_store import SqlMemberStore
from database.migrate import migrate
from database.operating import Operating
from database.outbox import SqlOutbox
from database.picture_store import FilePictureStore
from database.retention import Ages
from database.session_store import SqlSessionStore
from database.url import read_url
from flows.catalog import Catalog, FlowError, read_catalog
from gateway.app import create_app
from gateway.auth import ApiKey, BindingRefused, KeysInvalid, check_binding, read_keys
from gateway.links import MediaLinks
from gateway.serve import serve as serve_web
from gateway.settings import GatewaySettings
from jobs.carrier import Carrier, Policy
from jobs.desk import Desk
from jobs.dispatcher import Dispatcher
from jobs.errors import StoreUnavailable
from jobs.estimate import Estimator
from jobs.feed import Feed
from jobs.intake import Intake
from jobs.judging import Classifier
from jobs.ports import Worker
from jobs.words import explain
from workers.classifier import HttpClassifier
from workers.drivers.comfy.fleet import AddressError, check_address, keys_of, open_comfy
from workers.drivers.comfy.worker import ComfyWorker
from workers.drivers.engine import EngineWorker
from workers.inspection import PictureInspector
from workers.pool import Pool

_log = logging.getLogger(__name__)


class HostError(RuntimeError):
    """The host cannot serve; the sentence says why and what to do."""


@dataclass(frozen=True, kw_only=True)
class Lab:
    """Everything behind the doors."""

    database: Database
    store: SqlJobStore
    outbox: SqlOutbox
    pictures: FilePictureStore
    feed: Feed
    desk: Desk
    pool: Pool
    leases: HostLeases
    estimator: Estimator
    operator: Operator
    reload_flows: FlowReload


@asynccontextmanager
async def open_lab(settings: Settings) -> AsyncIterator[Lab]:
    """The ledger migrated and open, the pool ready to run, no door yet."""
    settings.storage.mkdir(parents=True, exist_ok=True, mode=0o700)
    await migrate(settings.ledger_url)
    async with (
        open_database(settings.ledger_url, sqlite_synchronous=settings.sqlite_synchronous) as database,
        aiohttp.ClientSession(cookie_jar=aiohttp.DummyCookieJar()) as session,
    ):
        pictures, catalog = _pictures(settings), _catalog(settings)
        with host_identity(settings.storage) as owner:
            keys = _comfy_keys(settings)
            async with open_comfy(settings.comfy_urls, flows=catalog.comfy, read_picture=pictures.read, keys=keys) as comfy:
                judge = _classifier(settings, session)
                yield _lab(settings, database, _workers(settings, session, pictures), comfy, catalog, owner, judge)


def _lab(
    settings: Settings, database: Database, own: Sequence[Worker], comfy: Sequence[ComfyWorker], catalog: Catalog, owner: str,
    classifier: Classifier | None,
) -> Lab:  # fmt: skip
    clock, feed, estimator = SystemClock(), Feed(), Estimator()
    store, pictures = SqlJobStore(database, owner=owner), _pictures(settings)
    policy = Policy(lease=settings.lease_seconds, renew_every=settings.lease_seconds / 3, expire_every=settings.lease_seconds / 6)
    carrier = Carrier(
        store=store, pictures=pictures, inspector=PictureInspector(), sink=feed, estimator=estimator, clock=clock, policy=policy,
        elsewhere=lambda model, worker: pool.has_other(model, worker), classifier=classifier,
    )  # fmt: skip
    pool = Pool(
        workers=[*own, *comfy],
        dispatcher=Dispatcher(store=store, carrier=carrier, sink=feed, clock=clock, policy=policy, estimator=estimator),
        feed=feed,
        clock=clock,
        shipped=catalog.shipped,
        default_model=catalog.flow("text_to_image").default_model,
        memory=FleetMemory(database),
        max_batch=settings.max_batch_size,
    )
    desk = Desk(
        store=store,
        fleet=pool,
        feed=feed,
        estimator=estimator,
        new_id=new_job_id,
        draw_seed=draw_seed,
        waiting_limit=settings.waiting_limit,
        intake=Intake(inspector=PictureInspector(), pictures=pictures, inputs=InputMemory(database)),
    )
    return Lab(
        database=database,
        store=store,
        outbox=SqlOutbox(database),
        pictures=pictures,
        feed=feed,
        desk=desk,
        pool=pool,
        leases=HostLeases(database, owner=owner),
        estimator=estimator,
        operator=Operator(Operating(database), feed),
        reload_flows=FlowReload(folder=settings.flows, pool=pool, comfy=comfy),
    )


def _classifier(settings: Settings, session: aiohttp.ClientSession) -> Classifier | None:
    if settings.output_classifier_url is None:
        return None
    return HttpClassifier(
        session=session,
        url=settings.output_classifier_url,
        token=settings.output_classifier_token,
        seconds=settings.output_classifier_seconds,
        open_without=settings.output_classifier_open,
    )


def _pictures(settings: Settings) -> FilePictureStore:
    return FilePictureStore(settings.storage / "pictures")


def _catalog(settings: Settings) -> Catalog:
    """What ships, and the operator's own flows in place of those of the same name."""
    return read_catalog(more=[settings.flows] if settings.flows else [])


def _comfy_keys(settings: Settings) -> dict[str, str | None]:
    for url in settings.comfy_urls:
        check_address(url, plain_allowed=settings.comfy_plain_http)
    return keys_of(settings.comfy_api_key, settings.comfy_urls)


def _workers(settings: Settings, session: aiohttp.ClientSession, pictures: FilePictureStore) -> list[Worker]:
    """A driver per URL. Its name is the URL without the scheme: stable over restarts, since leases carry it."""
    return [
        EngineWorker(name=url.partition("://")[2], url=url, session=session, token=settings.worker_token, inputs=pictures.read)
        for url in settings.worker_urls
    ]


async def serve(settings: Settings, stop: asyncio.Event) -> int:
    """Serve until ``stop``; 0 then. Work under way stays with its workers and is taken up again at the next start.

    Raises HostError for what an operator has to mend before it can serve at all.
    """
    try:
        keys = read_keys(settings.api_keys)
        check_binding(settings.http_host, keys, settings.host_names)
        apply_discord_address(settings.discord_api_url, settings.discord_token or "")
        async with open_lab(settings) as lab:
            await _serve_doors(lab, settings, keys, stop)
    except (StorageInUse, BindingRefused, KeysInvalid, DiscordAddressError, DatabaseError, AddressError, FlowError) as error:
        raise HostError(str(error)) from error
    except StoreUnavailable as error:
        raise HostError(f"The database cannot be used: {error.details['reason']}. `darkroom doctor` says more.") from error
    except DiscordDoorError as error:
        raise HostError(explain(error, "en")) from error
    except OSError as error:
        raise HostError(f"{error.strerror or error} ({settings.http_host}:{settings.http_port}, {settings.storage})") from error
    return 0


async def _serve_doors(lab: Lab, settings: Settings, keys: tuple[ApiKey, ...], stop: asyncio.Event) -> None:
    """Pool and doors in one TaskGroup: a core loop that fails ends the process loudly, and its supervisor starts it anew."""
    try:
        async with asyncio.TaskGroup() as group:
            loops = [group.create_task(loop, name=name) for name, loop in _loops(lab, settings)]
            doors = [group.create_task(_serve_web(lab, settings, keys, stop), name="door: web")]
            if settings.discord_token:
                serve_discord = partial(_serve_discord, lab, settings, settings.discord_token)
                held = hold_gateway(lab.leases, SystemClock(), stop, serve_discord)
                doors.append(group.create_task(held, name="door: discord"))
            await asyncio.wait(doors)
            for loop in loops:
                loop.cancel()
    except* (DiscordDoorError, OSError, HostError) as refusals:
        raise refusals.exceptions[0] from None


def _loops(lab: Lab, settings: Settings) -> list[tuple[str, Coroutine[Any, Any, None]]]:
    """What runs beside the doors as long as they are open."""
    clock = SystemClock()
    ages = Ages(pictures=settings.keep_pictures_days, jobs=settings.keep_jobs_days)
    janitor = Janitor(database=lab.database, pictures=lab.pictures, leases=lab.leases, clock=clock, ages=ages)
    return [
        ("pool", lab.pool.run()),
        ("presence", keep_alive(lab.leases, clock)),
        ("retention", janitor.run()),
        ("learning", remember_for_ever(Measures(lab.database), lab.estimator, clock)),
        ("operator", listen(settings.storage, commands_of(lab))),
        ("hints", share_hints(Hints(read_url(settings.ledger_url)), lab.feed, lab.pool)),
    ]


def commands_of(lab: Lab) -> dict[str, Command]:
    """What the operator's door can do on this host."""
    maker = BoardMaker(database=lab.database, store=lab.store, desk=lab.desk, pool=lab.pool, feed=lab.feed)
    return commands(maker, Operating(lab.database), lab.operator, lab.pictures)


async def _serve_web(lab: Lab, settings: Settings, keys: tuple[ApiKey, ...], stop: asyncio.Event) -> None:
    secret = await asyncio.to_thread(_session_secret, settings)
    app = create_app(
        desk=lab.desk,
        feed=lab.feed,
        pictures=lab.pictures,
        fleet=lab.pool,
        read_metrics=MetricsReader(database=lab.database, store=lab.store, fleet=lab.pool).read,
        settings=GatewaySettings(
            version=version("darkroom"),
            host=settings.http_host,
            allowed_hosts=settings.host_names,
            keys=keys,
            session_secret=secret,
        ),
    )
    await serve_web(app, settings.http_host, settings.http_port, stop)


def _session_secret(settings: Settings) -> bytes:
    """What signs the page's cookies: kept beside the pictures, so that a restart signs nobody out."""
    file = settings.storage / "session.secret"
    if not file.exists():
        fresh = settings.storage / f".session.{secrets.token_hex(8)}"
        handle = os.open(fresh, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
        with os.fdopen(handle, "wb") as out:
            out.write(secrets.token_bytes(32))
        with contextlib.suppress(FileExistsError):  # two doors ask at once: whoever is first gives it its name, whole
            os.link(fresh, file)
        fresh.unlink()
    secret = file.read_bytes()
    if len(secret) != 32:
        raise HostError(f"{file} is damaged: remove it, and everybody signs in anew.")
    return secret


def _link_of(settings: Settings) -> LinkOf | None:
    """Links to originals, where the page is reached from outside; another door of this host reads them."""
    if settings.public_url is None:
        return None
    links = MediaLinks(_session_secret(settings), base_url=settings.public_url)
    return lambda job_id, index, seconds: links.link(job_id, index, seconds=seconds)


async def _serve_discord(lab: Lab, settings: Settings, token: str, stop: asyncio.Event) -> None:
    assert settings.allowed_guild_id is not None  # read_settings refuses a token without it
    await keep_serving(
        DoorParts(
            desk=lab.desk,
            store=lab.store,
            outbox=lab.outbox,
            pictures=lab.pictures,
            sessions=SqlSessionStore(lab.database),
            fleet=lab.pool,
            feed=lab.feed,
            clock=SystemClock(),
            members=SqlMemberStore(lab.database),
            gallery=SqlGalleryStore(lab.database),
            conduct=SqlConductStore(lab.database),
            operator=lab.operator,
            reload_flows=lab.reload_flows,
            link_of=await asyncio.to_thread(_link_of, settings),
            guild_known=set_aside,
        ),
        DoorOptions(
            guild_id=settings.allowed_guild_id,
            owner_ids=settings.owner_ids,
            staff_role_ids=settings.staff_role_ids,
            admin_role_ids=settings.admin_role_ids,
            message_content=settings.message_content_intent,
            commands_file=settings.storage / "commands.sha256",
            members_intent=settings.members_intent,
            gallery_channel_id=settings.gallery_channel_id,
            moderation_channel_id=settings.moderation_channel_id,
            audit_channel_id=settings.audit_channel_id,
            adult_models=settings.adult_models,
            idle_days=settings.studio_idle_days,
            channel_share=settings.studio_channels,
            persona=settings.persona,
            personas=settings.storage / "personas",
            rules=settings.storage / "rules.toml",
            quotas=settings.storage / "quotas.toml",
            waiting_limit=settings.waiting_limit,
            # A delivery that a crash cut off is taken up again after twice this and ten seconds.
            send_timeout=min(SEND_TIMEOUT, 1.5 * settings.lease_seconds),
        ),
        token,
        stop,
    )
