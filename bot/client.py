"""The bot: one client, one guild, and every task of the Discord door under one roof."""

import asyncio
import logging
from collections.abc import Callable, Collection
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import discord
from discord import app_commands
from discord.ext import commands

from bot.clock import until_set
from bot.cogs.admin.audit import Audit
from bot.cogs.admin.cog import AdminCog
from bot.cogs.admin.part import AdminParts, Steering
from bot.cogs.admin.reload import Files, ReadFlows, Reloader
from bot.cogs.admin.scopes import CommandSync
from bot.cogs.admin.slash import AdminSlash
from bot.cogs.archive.cog import ArchiveCog
from bot.cogs.gallery.cog import GalleryCog
from bot.cogs.gallery.store import Gallery
from bot.cogs.house.cog import HouseCog
from bot.cogs.imagine.cog import ImagineCog
from bot.cogs.imagine.localised import CatalogueTranslator
from bot.cogs.intake import Intake
from bot.cogs.interactions import NETWORK_FAULTS, SeenOnce, admit, is_expected, locale_of, sentence_of, tell
from bot.cogs.likes.cog import LikesCog
from bot.cogs.members import Members
from bot.cogs.photos.budget import Budget
from bot.cogs.photos.courier import FILE_LIMIT, DiscordCourier
from bot.cogs.photos.keeper import CardKeeper
from bot.cogs.photos.memory import CardMemory
from bot.cogs.photos.parcels import LinkOf
from bot.cogs.preferring import Choices
from bot.cogs.safety.cog import SafetyCog
from bot.cogs.safety.gates import Conduct, Gates
from bot.cogs.safety.quotas import QuotasInvalid, read_quotas
from bot.cogs.safety.rules import RulesInvalid, read_file, shipped_rules
from bot.cogs.sessions.channels import CHANNEL_SHARE, SessionStore, Studios
from bot.cogs.sessions.cog import SessionsCog
from bot.cogs.switchboard import Switchboard
from bot.cogs.taking import Taker
from bot.cogs.verbs.cog import VerbsCog
from bot.cogs.verbs.commands import VerbCommands
from bot.cogs.verbs.menus import PictureMenus
from bot.cogs.voices.persona import PLAIN, PersonaInvalid, read_folder, shipped
from bot.cogs.voices.speaker import Speaker
from bot.door_errors import DiscordDoorError, FileInvalid, GatewayRefused, IntentMissing, TokenRefused
from bot.poster import SEND_TIMEOUT, Poster
from jobs.desk import Desk
from jobs.errors import DarkroomError
from jobs.feed import Feed
from jobs.job import Place
from jobs.ports import Clock, Fleet, JobStore, Outbox, PictureStore
from jobs.words import say

_log = logging.getLogger(__name__)

LOGIN_TIMEOUT = 60.0
DRAIN = 8.0
"""Seconds that posts under way get to end when the host stops. What is cut off is read back at the next start."""

CLOSE_TIMEOUT = 5.0
IDLE_EVERY = 3600.0

PERMISSIONS = discord.Permissions(
    view_channel=True, send_messages=True, embed_links=True, attach_files=True, read_message_history=True,
    manage_channels=True, create_private_threads=True, send_messages_in_threads=True, use_application_commands=True,
)  # fmt: skip
"""What the invitation asks for. Not Manage Roles: overwrites are given with the create; only guests of a studio come and go later."""


@dataclass(frozen=True, kw_only=True)
class DoorParts:
    """What the door stands on: the house's own objects, built by the host."""

    desk: Desk
    store: JobStore
    outbox: Outbox
    pictures: PictureStore
    sessions: SessionStore
    fleet: Fleet
    feed: Feed
    clock: Clock
    members: Members
    gallery: Gallery
    conduct: Conduct
    operator: Steering
    reload_flows: ReadFlows | None = None
    """Reads the flows again; None where this host has none of its own."""
    link_of: LinkOf | None = None
    """Addresses of originals; None where the host is not reached from outside."""
    guild_known: Callable[[], None] = lambda: None
    """Called whenever all that Discord tells of the guild at the beginning is there."""


@dataclass(frozen=True, kw_only=True)
class DoorOptions:
    """What the operator chose."""

    guild_id: int
    owner_ids: Collection[int] = ()
    staff_role_ids: Collection[int] = ()
    admin_role_ids: Collection[int] = ()
    """Roles of the guild that may use the admin commands beside those with Manage Server."""
    message_content: bool = False
    """Whether the privileged intent is switched on in the portal: then ``!sync`` works without mentioning the bot."""
    commands_file: Path | None = None
    """Where the hash of the synced commands is kept; None syncs at each start."""
    members_intent: bool = False
    """Whether the privileged intent is switched on: then a studio rests as soon as its person leaves."""
    channel_share: int = CHANNEL_SHARE
    """Channels of the guild from which on studios are threads."""
    idle_days: float = 30.0
    """Days without a request after which a studio is put aside."""
    gallery_channel_id: int | None = None
    """Where pictures are published; None: the channel called ``gallery``."""
    moderation_channel_id: int | None = None
    """Where appeals go; None: there are none."""
    audit_channel_id: int | None = None
    rules: Path | None = None
    """The operator's ``rules.toml``."""
    quotas: Path | None = None
    """The operator's ``quotas.toml``."""
    adult_models: Collection[str] = ()
    """Models that are served in age-restricted channels only."""
    waiting_limit: int = 20
    persona: str = PLAIN
    """The voice of people who chose none."""
    personas: Path | None = None
    """A folder with the operator's own voices."""
    send_timeout: float = SEND_TIMEOUT
    """Seconds for one delivery; an interrupted one is taken up again after twice that and ten."""


class KindTree(app_commands.CommandTree["DarkroomBot"]):
    """Slash commands: admitted once, from one server, and answered even when they fail."""

    async def interaction_check(self, interaction: discord.Interaction["DarkroomBot"], /) -> bool:
        """See :func:`admit`."""
        return await admit(interaction)

    async def on_error(self, interaction: discord.Interaction["DarkroomBot"], error: app_commands.AppCommandError, /) -> None:
        """One sentence from one table."""
        if not is_expected(error):
            _log.error("/%s failed", interaction.command and interaction.command.qualified_name, exc_info=error)
        await tell(interaction, sentence_of(error, locale_of(interaction)))


class DarkroomBot(commands.Bot):
    """The client. Build it, then await :meth:`serve`; one object serves once."""

    def __init__(self, parts: DoorParts, options: DoorOptions) -> None:
        budget = Budget(parts.clock)
        super().__init__(
            # Without the intent "!" never arrives, and the library would warn at each start.
            command_prefix=commands.when_mentioned_or("!") if options.message_content else commands.when_mentioned,
            intents=intents(message_content=options.message_content, members=options.members_intent),
            help_command=None,
            tree_cls=KindTree,
            allowed_mentions=discord.AllowedMentions.none(),
            owner_ids=set(options.owner_ids),
            max_messages=None,  # nothing here reads old messages from memory
            member_cache_flags=discord.MemberCacheFlags.none(),
            chunk_guilds_at_startup=False,
            max_ratelimit_timeout=30.0,  # the library's least; longer waits come back as errors and into the outbox
            http_trace=budget.listening(),
        )
        self.budget = budget
        self.parts = parts
        self.options = options
        self.desk = parts.desk
        self.allowed_guild_id = options.guild_id
        self.seen = SeenOnce()
        self.studios = Studios(
            client=self,
            guild_id=options.guild_id,
            store=parts.sessions,
            staff_role_ids=options.staff_role_ids,
            channel_share=options.channel_share,
            spend=budget.spend_slowly,
        )
        self.scopes = CommandSync(tree=self.tree, guild_id=options.guild_id, memory=options.commands_file)
        self.switchboard = Switchboard()
        self.choices = Choices(parts.members)
        self._refusal: DiscordDoorError | None = None
        self._closing = asyncio.Event()
        self.erased = asyncio.Event()
        self._build_asking()
        self._build_delivery()

    def _build_asking(self) -> None:
        parts, options = self.parts, self.options
        self.gates = Gates(
            conduct=parts.conduct,
            clock=parts.clock,
            rules=[*shipped_rules(), *read_file(options.rules)],
            quotas=read_quotas(options.quotas, waiting=options.waiting_limit),
            adult_models=frozenset(options.adult_models),
            usual_model=lambda: parts.fleet.default_model,
        )
        self.taker = Taker(
            desk=parts.desk,
            studios=self.studios,
            choices=self.choices,
            gates=[self.gates.check],
            standing=self.gates.standing,
            is_adult=self.gates.is_adult,
            may_wait=self.gates.check_waiting,
        )
        self.intake = Intake(desk=parts.desk)

    def _build_delivery(self) -> None:
        parts = self.parts
        self.speaker = Speaker(
            members=parts.members,
            choices=self.choices,
            personas={**shipped(), **read_folder(self.options.personas)},
            usual=self.options.persona,
            of_studio=self.studios.voice,
        )
        memory = CardMemory(desk=parts.desk, store=parts.store, feed=parts.feed, clock=parts.clock, speaker=self.speaker)
        courier = self.courier = DiscordCourier(
            client=self, store=parts.store, outbox=parts.outbox, pictures=parts.pictures, memory=memory, budget=self.budget,
            on_channel_gone=self._on_channel_gone, link_of=parts.link_of,
        )  # fmt: skip
        self.keeper = CardKeeper(
            desk=parts.desk, store=parts.store, outbox=parts.outbox, feed=parts.feed, memory=memory, courier=courier,
            budget=self.budget, clock=parts.clock,
        )  # fmt: skip
        self.poster = Poster(
            outbox=parts.outbox, courier=courier, feed=parts.feed, clock=parts.clock,
            on_posted=self.keeper.card_posted, send_timeout=self.options.send_timeout,
        )  # fmt: skip

    async def serve(self, token: str, stop: asyncio.Event) -> None:
        """Log in, serve until ``stop``, close. An outage of Discord is waited for.

        Raises TokenRefused, IntentMissing, GatewayRefused.
        """
        try:
            if await self._log_in(token, stop):
                await self._run(stop)
        finally:
            await self._close_soon()
        if self._refusal is not None:
            raise self._refusal

    async def _run(self, stop: asyncio.Event) -> None:
        async with asyncio.TaskGroup() as group:
            gateway = [
                group.create_task(self._close_at(stop), name="discord: stop"),
                group.create_task(self._follow_gateway(), name="discord: gateway"),
            ]
            poster = group.create_task(self.poster.run(self._closing), name="discord: poster")
            senders = {
                poster,
                group.create_task(self.keeper.run(), name="discord: cards"),
                group.create_task(self._rest_idle_for_ever(), name="discord: idle studios"),
                group.create_task(self.gallery.tend(self.erased), name="discord: gallery"),
            }
            try:
                await self._closing.wait()
                await asyncio.wait({poster}, timeout=DRAIN)
            finally:
                # Whoever sends ends first: in a closed client a request fails as if it were a fault of ours.
                for task in senders:
                    task.cancel()
                await asyncio.wait(senders, timeout=CLOSE_TIMEOUT)
                # A cancel alone can be lost: asyncio.wait_for, in which the library connects, swallows one that comes
                # in the moment its work is done (Python 3.11). A closed client ends its loop by itself.
                await self._close_soon()
                for task in gateway:
                    task.cancel()

    async def _rest_idle_for_ever(self) -> None:
        """Once an hour: studios that nobody used for long are put aside with a word, never deleted."""
        while True:
            await self.parts.clock.sleep(IDLE_EVERY)
            try:
                count = await self.studios.rest_idle(
                    seconds=self.options.idle_days * 86_400, words=lambda user: say("studio.resting", self.choices.language_of(user))
                )
            except DarkroomError as error:
                _log.warning("idle studios were not looked for: %s", error)
            else:
                _log.log(logging.INFO if count else logging.DEBUG, "%d idle studios were put aside", count)

    async def _close_soon(self) -> None:
        try:
            async with asyncio.timeout(CLOSE_TIMEOUT):
                await self.close()
        except TimeoutError:
            _log.warning("Discord did not answer the good-bye")

    async def _close_at(self, stop: asyncio.Event) -> None:
        await stop.wait()
        self._closing.set()

    async def _log_in(self, token: str, stop: asyncio.Event) -> bool:
        """True once logged in; False when ``stop`` came first. Discord may be away at the start, too."""
        delay = 1.0
        while not stop.is_set():
            try:
                async with asyncio.timeout(LOGIN_TIMEOUT):
                    await self.login(token)
            except discord.LoginFailure as error:
                raise TokenRefused from error
            except NETWORK_FAULTS as error:
                _log.warning("Discord cannot be reached (%s); next try in %.0f s", error or type(error).__name__, delay)
                await self._shut_connections()
                await until_set(stop, delay)
                delay = min(delay * 2, 60.0)
            else:
                return True
        return False

    async def _shut_connections(self) -> None:
        """The library opens a new session at each login, but would do so over the old, closed connector."""
        await self.http.close()
        self.http.clear()
        self.http.connector = discord.utils.MISSING

    async def _follow_gateway(self) -> None:
        try:
            await self.connect()
        except discord.PrivilegedIntentsRequired:
            self._refusal = IntentMissing()
        except discord.ConnectionClosed as error:
            self._refusal = TokenRefused() if error.code == 4004 else GatewayRefused(error.code or 0)
        finally:
            self._closing.set()

    async def setup_hook(self) -> None:
        """Build the features. Runs after each login that was refused half-way, so it must not mind a second time."""
        if not self.cogs:
            await self.tree.set_translator(CatalogueTranslator())
            await self._add_features()
            self.tree.copy_global_to(guild=discord.Object(self.allowed_guild_id))
        await self._sync_commands()

    async def _add_features(self) -> None:
        """Every cog with its presses. Order matters once: the verbs know the gallery before the first press."""
        verbs = self._verbs()
        await self._add_picture_features(verbs)
        await self._add_own_features()
        await self._add_order(verbs)
        await self.add_cog(HouseCog(desk=self.desk, store=self.parts.store, fleet=self.parts.fleet))

    def _verbs(self) -> VerbsCog:
        parts = self.parts
        return VerbsCog(
            desk=self.desk,
            store=parts.store,
            fleet=parts.fleet,
            taker=self.taker,
            members=parts.members,
            choices=self.choices,
            prints=self.courier,
        )

    async def _add_picture_features(self, verbs: VerbsCog) -> None:
        """Asking for pictures and going on from them."""
        store, pictures, fleet, members = self.parts.store, self.parts.pictures, self.parts.fleet, self.parts.members
        imagine = ImagineCog(fleet=fleet, taker=self.taker, intake=self.intake)
        sources = VerbCommands(verbs=verbs, store=store, pictures=pictures, fleet=fleet, taker=self.taker, intake=self.intake)
        menus = PictureMenus(
            verbs=verbs,
            store=store,
            pictures=pictures,
            members=members,
            choices=self.choices,
            taker=self.taker,
            intake=self.intake,
        )
        for cog in (imagine, verbs, sources, menus):
            await self.add_cog(cog)
        for menu in menus.menus:
            self.tree.add_command(menu)
        self.switchboard.connect("ask", imagine.on_press)
        self.switchboard.connect("job", verbs.on_press)
        self.switchboard.connect("src", menus.on_press)

    async def _add_own_features(self) -> None:
        """What is a person's own: studio, history, settings."""
        store, pictures, members = self.parts.store, self.parts.pictures, self.parts.members
        sessions = SessionsCog(self.studios, guild_id=self.allowed_guild_id, speaker=self.speaker)
        archive = ArchiveCog(members=members, store=store, pictures=pictures, taker=self.taker, file_limit=FILE_LIMIT)
        likes = LikesCog(
            members=members,
            choices=self.choices,
            fleet=self.parts.fleet,
            speaker=self.speaker,
            studios=self.studios,
            archive=archive,
            file_limit=FILE_LIMIT,
            on_erased=self.erased.set,
        )
        for cog in (sessions, archive, likes):
            await self.add_cog(cog)
        self.switchboard.connect("session", sessions.on_press)
        self.switchboard.connect("past", archive.on_press)
        self.switchboard.connect("likes", likes.on_press)

    async def _add_order(self, verbs: VerbsCog) -> None:
        """What others see, what may be asked for, and those who decide."""
        parts, options = self.parts, self.options
        gallery = self.gallery = GalleryCog(
            client=self,
            gallery=parts.gallery,
            store=parts.store,
            pictures=parts.pictures,
            taker=self.taker,
            intake=self.intake,
            verbs=verbs,
            budget=self.budget,
            find_channel=lambda: self._gallery_channel(options.gallery_channel_id),
            is_adult=self.gates.is_adult,
        )
        verbs.add_gallery(gallery.ask, gallery)
        safety = SafetyCog(
            conduct=parts.conduct,
            gates=self.gates,
            moderators=lambda: self._text_channel(options.moderation_channel_id),
            may_judge=self.may_administer,
        )
        admin = self._admin_parts()
        slash = AdminSlash(admin, self._reloader())
        for cog in (gallery, safety, slash, AdminCog(admin)):
            await self.add_cog(cog)
        self.switchboard.connect("pub", gallery.on_press)
        self.switchboard.connect("appeal", safety.on_press)
        self.switchboard.connect("admin", slash.on_press)

    def _admin_parts(self) -> AdminParts:
        parts, options = self.parts, self.options
        audit = Audit(conduct=parts.conduct, channel=lambda: self._text_channel(options.audit_channel_id))
        return AdminParts(
            desk=self.desk, store=parts.store, fleet=parts.fleet, operator=parts.operator, conduct=parts.conduct,
            gates=self.gates, scopes=self.scopes, permits=self, audit=audit,
        )  # fmt: skip

    def _reloader(self) -> Reloader:
        options = self.options
        files = Files(rules=options.rules, quotas=options.quotas, personas=options.personas, waiting_limit=options.waiting_limit)
        return Reloader(files=files, gates=self.gates, speaker=self.speaker, flows=self.parts.reload_flows)

    def _text_channel(self, channel_id: int | None) -> discord.TextChannel | None:
        """A channel of the guild by its id."""
        guild = self.get_guild(self.allowed_guild_id)
        channel = guild.get_channel(channel_id) if guild is not None and channel_id is not None else None
        return channel if isinstance(channel, discord.TextChannel) else None

    def _gallery_channel(self, channel_id: int | None) -> discord.TextChannel | discord.ForumChannel | None:
        """A text channel or a forum, by its id, or by the name ``gallery`` where no id was given."""
        guild = self.get_guild(self.allowed_guild_id)
        if guild is None:
            return None
        if channel_id is None:
            return discord.utils.get([*guild.text_channels, *guild.forums], name="gallery")
        channel = guild.get_channel(channel_id)
        return channel if isinstance(channel, discord.TextChannel | discord.ForumChannel) else None

    async def _sync_commands(self) -> None:
        try:
            await self.scopes.on_change()
        except discord.Forbidden:
            _log.error("Not in the allowed server yet. Invite the bot: %s", self.invitation())
        except (*NETWORK_FAULTS, app_commands.AppCommandError) as error:
            _log.error("The slash commands were not synced (%s); `!sync` tries again.", error)

    def invitation(self) -> str:
        """The address at which an admin of a server invites the bot, with the permissions it needs."""
        return discord.utils.oauth_url(
            self.application_id or 0,
            permissions=PERMISSIONS,
            guild=discord.Object(self.allowed_guild_id),
            scopes=("bot", "applications.commands"),
        )

    def may_administer(self, person: discord.User | discord.Member) -> bool:
        """Manage Server or a configured role in the one guild that is served, or a configured owner."""
        if person.id in (self.owner_ids or ()):
            return True
        if not isinstance(person, discord.Member) or person.guild.id != self.allowed_guild_id:
            return False
        return person.guild_permissions.manage_guild or any(role.id in self.options.admin_role_ids for role in person.roles)

    def dispatch(self, event_name: str, /, *args: Any, **kwargs: Any) -> None:
        """A handler that outlives the client has nobody to tell: the library would fail over its own missing loop."""
        if not self.is_closed():
            super().dispatch(event_name, *args, **kwargs)

    async def on_ready(self) -> None:
        """Say what is missing, in plain words. Comes again after each new session."""
        guild = self.get_guild(self.allowed_guild_id)
        if guild is None:
            _log.error("The bot is not in the server %s. Invite it: %s", self.allowed_guild_id, self.invitation())
            return
        missing = missing_permissions(guild)
        if missing:
            _log.error("In %r the bot lacks: %s. Give its role these permissions.", guild.name, ", ".join(missing))
        _log.info("Discord door open in %r as %s", guild.name, self.user)
        self.parts.guild_known()

    async def on_guild_join(self, guild: discord.Guild) -> None:
        """Invited at last: now its commands can be put there."""
        if guild.id == self.allowed_guild_id:
            await self._sync_commands()

    async def on_interaction(self, interaction: discord.Interaction) -> None:
        """Presses and forms: commands have their tree."""
        await self.switchboard.route(interaction)

    async def invoke(self, context: commands.Context[Any], /) -> None:
        """A resumed gateway replays: a message that comes twice is one command."""
        if context.command is None or self.seen.first_time(context.message.id):
            await super().invoke(context)

    async def on_command_error(self, context: commands.Context[Any], exception: commands.CommandError, /) -> None:
        """Unknown words after ``!`` are other bots' business; errors of ours are told by their cog."""
        if context.cog is None and not isinstance(exception, commands.CommandNotFound):
            _log.error("a message could not be read as a command", exc_info=exception)

    async def on_error(self, event_method: str, /, *args: Any, **kwargs: Any) -> None:
        """Log a failing listener through our log."""
        _log.exception("a listener for %s failed", event_method)

    async def _on_channel_gone(self, place: Place) -> None:
        await self.studios.channel_gone(int(place.channel_id))


async def keep_serving(parts: DoorParts, options: DoorOptions, token: str, stop: asyncio.Event) -> None:
    """The Discord door until ``stop``: a client that a bug or a broken event ended is replaced by a new one.

    Raises TokenRefused, IntentMissing, GatewayRefused, FileInvalid: what only an operator can mend.
    """
    delay = 1.0
    while not stop.is_set():
        started = parts.clock.monotonic()
        try:
            await DarkroomBot(parts, options).serve(token, stop)
        except DiscordDoorError:
            raise
        except (PersonaInvalid, QuotasInvalid, RulesInvalid) as error:
            raise FileInvalid(str(error)) from error
        except Exception:  # noqa: BLE001  discord.py ends a client on any event it cannot read; the others' doors stay open
            _log.exception("the Discord client ended; a new one starts in %.0f s", delay)
        if parts.clock.monotonic() - started > 300:
            delay = 1.0
        await until_set(stop, delay)
        delay = min(delay * 2, 60.0)  # 1,000 identifies a day, then Discord resets the token


def intents(*, message_content: bool, members: bool = False) -> discord.Intents:
    """The fewest: guilds for channels and roles, messages for the admins' commands."""
    wanted = discord.Intents.none()
    wanted.guilds = True
    wanted.messages = True
    wanted.message_content = message_content
    wanted.members = members
    return wanted


def missing_permissions(guild: discord.Guild) -> list[str]:
    """Names of permissions that the bot needs in the guild and does not have."""
    mine = guild.me.guild_permissions
    return [name.replace("_", " ") for name, needed in PERMISSIONS if needed and not getattr(mine, name)]
