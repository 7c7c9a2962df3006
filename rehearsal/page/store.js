// What the played member sees: people, channels, messages. One member at a time; events keep it current.
import { api, follow } from "./api.js";
import { nameOf } from "./message.js";
import { now, setNow } from "./time.js";

const TYPING = 10_000;
const HIDDEN_KINDS = new Set([2, 4, 13]);
const byId = (a, b) => (BigInt(a.id) < BigInt(b.id) ? -1 : 1);

/** Fires `state`, `channel`, `log`, `message`, `removed`, `typing`, `interaction`, `modal`, `link` with a `detail`. */
export class Store extends EventTarget {
  as = null;
  state = null;
  channelId = null;
  messages = new Map();
  older = false;
  /** False while the open channel is being read. */
  ready = false;
  typing = new Map();
  interactions = new Map();
  linked = true;
  #leave = () => {};
  #turn = 0;

  tell(type, detail = null) {
    this.dispatchEvent(new CustomEvent(type, { detail }));
  }

  get guilds() {
    return this.state?.guilds ?? [];
  }

  get channels() {
    return [...this.guilds.flatMap((g) => g.channels), ...(this.state?.dms ?? [])];
  }

  get rooms() {
    return this.channels.filter((c) => !HIDDEN_KINDS.has(c.type));
  }

  get channel() {
    return this.channels.find((c) => c.id === this.channelId) ?? null;
  }

  get guild() {
    return this.guilds.find((g) => g.id === this.channel?.guild_id) ?? this.guilds[0] ?? null;
  }

  get me() {
    return this.state?.me ?? null;
  }

  /** Who can be played: members first, then those with roles, the owner last. */
  get people() {
    const rank = (u) => (this.member(u.id)?.owner ? 2 : Math.min(1, this.member(u.id)?.roles.length ?? 0));
    return (this.state?.users ?? []).filter((u) => !u.bot).sort((a, b) => rank(a) - rank(b));
  }

  get bot() {
    return this.state?.users.find((u) => u.id === this.state.application?.bot_user_id) ?? null;
  }

  user(id) {
    return this.state?.users.find((u) => u.id === id) ?? null;
  }

  member(id) {
    return this.guild?.members.find((m) => m.user.id === id) ?? null;
  }

  /** The name of a channel, that of the bot where one writes to it alone; as a sentence says it, with its #. */
  nameOf(room, sign = "") {
    return room.name ? sign + room.name : nameOf(this.bot);
  }

  /** What drawing a message needs to know of the world. */
  context() {
    const roles = this.guild?.roles ?? [];
    return {
      me: this.as,
      myName: this.me ? nameOf(this.me) : "",
      myRoles: this.member(this.as)?.roles ?? [],
      locale: this.me?.locale,
      user: (id) => this.user(id),
      userName: (id) => this.member(id)?.nick || (this.user(id) && nameOf(this.user(id))),
      roleName: (id) => roles.find((r) => r.id === id)?.name,
      channelName: (id) => this.rooms.find((c) => c.id === id)?.name,
      named: (kind, types) => this.#named(kind, types),
    };
  }

  /** People, roles or channels as `{value, label}` to choose from. */
  #named(kind, types) {
    const { members = [], roles = [], channels = [], id } = this.guild ?? {};
    const lists = {
      users: () => members.map((m) => ({ value: m.user.id, label: `@${m.nick || nameOf(m.user)}` })),
      roles: () => roles.filter((r) => r.id !== id).map((r) => ({ value: r.id, label: `@${r.name}` })),
      channels: () => channels.filter((c) => !types?.length || types.includes(c.type)).map((c) => ({ value: c.id, label: `#${c.name}` })),
      both: () => [...lists.users(), ...lists.roles()],
    };
    return lists[kind]();
  }

  /** Becomes `as` (an id or a name) and opens a channel of theirs. */
  async play(as, channelId = null) {
    const turn = ++this.#turn;
    const state = await api.state(as);
    if (turn !== this.#turn) return;
    this.#leave();
    this.state = state;
    this.as = state.me.id;
    setNow(state.now);
    this.#leave = follow(this.as, (event) => this.apply(event), (up, again) => this.#link(up, again));
    const room = this.rooms.find((c) => c.id === channelId) ?? this.rooms.find((c) => c.me?.can.send) ?? this.rooms[0];
    this.tell("state");
    await this.open(room?.id ?? null);
  }

  async open(channelId) {
    this.channelId = channelId;
    this.messages = new Map();
    this.interactions = new Map();
    this.typing.clear();
    this.older = false;
    this.ready = false;
    this.tell("channel");
    if (channelId) await this.#read();
    if (channelId !== this.channelId) return;
    this.ready = true;
    this.tell("log");
  }

  async #read() {
    const { as, channelId } = this;
    const [page, asked] = await Promise.all([api.messages(as, channelId), api.interactions(as, channelId)]);
    if (as !== this.as || channelId !== this.channelId) return;
    // Events that came meanwhile are newer than what was read.
    this.messages = new Map([...page.messages.map((m) => [m.id, m]), ...this.messages]);
    for (const i of asked.interactions.slice(-30)) if (!this.interactions.has(i.id)) this.interactions.set(i.id, i);
    this.older = page.messages.length === 50;
  }

  async readOlder() {
    const { as, channelId } = this;
    if (!this.older) return false;
    this.older = false;
    const page = await api.messages(as, channelId, this.list()[0]?.id);
    if (as !== this.as || channelId !== this.channelId) return false;
    for (const m of page.messages) if (!this.messages.has(m.id)) this.messages.set(m.id, m);
    this.older = page.messages.length === 50;
    return true;
  }

  list() {
    return [...this.messages.values()].sort(byId);
  }

  async refresh() {
    const { as } = this;
    const state = await api.state(as);
    if (as !== this.as) return;
    this.state = state;
    setNow(state.now);
    this.tell("state");
  }

  async #link(up, again) {
    this.linked = up;
    this.tell("link", { up, again });
    if (!again) return;
    try {
      await this.refresh();
      this.messages = new Map();
      if (this.channelId) await this.#read();
      this.tell("log");
    } catch {
      // A server started anew knows neither this member nor this channel: the page begins anew (main.js).
    }
  }

  apply({ t, d }) {
    const [kind] = t.split("_");
    if (t === "HELLO" || t === "CLOCK") setNow(d.now);
    else if (t === "MESSAGE_DELETE") this.#remove(d);
    else if (kind === "MESSAGE" || t === "REACTION") this.#message(d, t === "MESSAGE_CREATE");
    else if (t === "TYPING_START") this.#typing(d);
    else if (t === "MODAL_OPEN") this.tell("modal", d);
    else if (kind === "INTERACTION") this.#interaction(d, t);
    else if (kind === "CHANNEL" || kind === "THREAD") this.#channel(d, t);
    else if (t === "BOT") {
      this.state.application.connected = d.connected;
      this.tell("state");
    } else this.refresh().catch(() => {});
  }

  #message(m, fresh) {
    if (fresh) this.typing.delete(m.author.id);
    if (m.channel_id !== this.channelId) return;
    this.messages.set(m.id, m);
    this.tell("message", { message: m, fresh });
    if (fresh) this.tell("typing");
  }

  #remove({ id, channel_id: channelId }) {
    if (channelId !== this.channelId || !this.messages.delete(id)) return;
    this.tell("removed", { id });
  }

  #typing({ channel_id: channelId, user_id: userId }) {
    if (channelId !== this.channelId || userId === this.as) return;
    this.typing.set(userId, now() + TYPING);
    this.tell("typing");
  }

  #interaction(i, t) {
    if (i.channel_id !== this.channelId || i.kind === "autocomplete") return;
    this.interactions.set(i.id, i);
    this.tell("interaction", { interaction: i, event: t });
  }

  #channel(c, t) {
    const lists = [...this.guilds.map((g) => g.channels), this.state.dms];
    const list = lists.find((l) => l.some((o) => o.id === c.id)) ?? this.guilds.find((g) => g.id === c.guild_id)?.channels ?? this.state.dms;
    const at = list.findIndex((o) => o.id === c.id);
    const known = at >= 0 ? list[at] : null;
    if (t.endsWith("DELETE")) {
      if (known) list.splice(at, 1);
    } else if (known) list[at] = c;
    else list.push(c);
    this.tell("state", { created: !known && !t.endsWith("DELETE") ? c : null, deleted: t.endsWith("DELETE") ? known : null });
  }
}
