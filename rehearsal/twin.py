"""The whole stand-in in one object: world, clock, gateway, limits, faults, record. No global state."""

from __future__ import annotations

import secrets

from rehearsal.announce import Announcer
from rehearsal.clock import Clock, Snowflakes
from rehearsal.config import RehearsalConfig
from rehearsal.faults import Faults
from rehearsal.files import FileStore, Links, Upload
from rehearsal.gateway import Gateway
from rehearsal.interactions import Interactions
from rehearsal.model import Application, Message, User
from rehearsal.ratelimits import RateLimits
from rehearsal.recording import Recorder
from rehearsal.render import Renderer
from rehearsal.view import View
from rehearsal.watchers import Watchers
from rehearsal.world import World


class Twin:
    """One run of the stand-in."""

    def __init__(self, config: RehearsalConfig) -> None:
        self.config = config
        self.clock = Clock()
        self.ids = Snowflakes(self.clock, deterministic=config.deterministic)
        self.recorder = Recorder(config.recording_limit)
        self.faults = Faults()
        self.limits = RateLimits(config, self.clock)
        self.store = FileStore()
        self.links = Links(self.store, self.clock, config.url_life)
        self.world = World(self.clock, self.ids, self._application(config))
        self.render = Renderer(self.world, self.links)
        self.gateway = Gateway(self)
        self.watchers = Watchers(self)
        self.view = View(self)
        self.announce = Announcer(self)
        self.interactions = Interactions(self)
        self.uploads: dict[str, tuple[int, Upload]] = {}
        self.nonces: dict[tuple[int, str], tuple[float, int]] = {}
        self.gateway_url = ""

    def _application(self, config: RehearsalConfig) -> Application:
        app_id = self.ids.next()
        bot = User(id=app_id, username=config.bot_name, bot=True)
        owner = User(id=self.ids.next(), username="operator", global_name="The operator")
        token = config.token or f"rehearsal-{secrets.token_hex(24)}"
        self.recorder.hide(token, "bot token")
        return Application(
            id=app_id, name=config.bot_name, bot=bot, token=token, owner=owner,
            members_intent=config.members_intent, message_content_intent=config.message_content_intent,
        )  # fmt: skip

    def listen(self, host: str, port: int) -> None:
        """Tell everything that builds urls where the twin listens."""
        self.links.origin = f"http://{host}:{port}"
        self.gateway_url = f"ws://{host}:{port}/"

    def file_limit(self, guild_id: int | None) -> int:
        """Bytes one file may have."""
        return self.world.file_limit(guild_id, self.config.file_limit)

    def request_limit(self) -> int:
        """Bytes one request may have; a boosted guild lifts it for all, which Discord leaves undocumented."""
        boosted = max((self.file_limit(g.id) for g in self.world.guilds.values()), default=0)
        return max(self.config.request_limit, boosted + (1 << 20) if boosted > self.config.file_limit else 0)

    def same_nonce(self, author_id: int, nonce: str) -> tuple[int, Message | None] | None:
        """The message this author made with this nonce within the window; None in place of a deleted one."""
        now = self.clock.now()
        while self.nonces:
            oldest = next(iter(self.nonces))
            if self.nonces[oldest][0] > now - self.config.nonce_window:
                break
            del self.nonces[oldest]
        known = self.nonces.get((author_id, nonce))
        if known is None or self.faults.take("nonce_expired"):
            return None
        return known[1], self.world.find_message(known[1])

    def close(self) -> None:
        """Let go of sockets, timers and files."""
        self.clock.close()
        self.gateway.close()
        self.watchers.close_all()
        self.store.close()
