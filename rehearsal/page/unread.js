// New messages and calls of every member, also of those not played now: what a dot beside a name means.
import { api, follow } from "./api.js";

const FRESH = { n: 0, pings: 0 };

export class Unread extends EventTarget {
  #viewers = new Map();
  #roles = new Map();
  #counts = new Map();
  #looking = () => null;
  #started = false;

  /** `looking()` tells what is on screen now: `{as, channelId}` or null. */
  async start(looking) {
    this.#looking = looking;
    await this.#learn();
    if (this.#started) return;
    this.#started = true;
    follow(null, (event) => this.#apply(event), (up, again) => again && this.#again());
  }

  async #learn() {
    const state = await api.state();
    for (const c of [...state.guilds.flatMap((g) => g.channels), ...(state.dms ?? [])]) this.#viewers.set(c.id, c.viewers ?? []);
    for (const g of state.guilds) for (const m of g.members) this.#roles.set(m.user.id, m.roles);
  }

  async #again() {
    await this.#learn();
    this.dispatchEvent(new Event("again"));
  }

  of(user, channel) {
    return this.#counts.get(user)?.get(channel) ?? FRESH;
  }

  total(user) {
    const all = [...(this.#counts.get(user)?.values() ?? [])];
    return { n: all.reduce((n, c) => n + c.n, 0), pings: all.reduce((n, c) => n + c.pings, 0) };
  }

  seen(user, channel) {
    if (this.#counts.get(user)?.delete(channel)) this.dispatchEvent(new Event("change"));
  }

  #apply({ t, d }) {
    if (/^(CHANNEL|THREAD)_(CREATE|UPDATE)$/.test(t)) this.#viewers.set(d.id, d.viewers ?? []);
    else if (t === "MEMBER_UPDATE") this.#learn().catch(() => {});
    else if (t === "MESSAGE_CREATE") this.#count(d);
  }

  #calls(m, user) {
    const named = m.mention_everyone || (m.mentions ?? []).some((u) => u.id === user);
    return named || (m.mention_roles ?? []).some((r) => this.#roles.get(user)?.includes(r));
  }

  #count(m) {
    const readers = m.ephemeral_for ? [m.ephemeral_for] : (this.#viewers.get(m.channel_id) ?? []);
    const looking = this.#looking();
    for (const user of readers) {
      if (user === m.author.id || (looking?.as === user && looking.channelId === m.channel_id)) continue;
      const mine = this.#counts.get(user) ?? new Map();
      const before = mine.get(m.channel_id) ?? FRESH;
      const ping = this.#calls(m, user);
      mine.set(m.channel_id, { n: before.n + 1, pings: before.pings + (ping ? 1 : 0) });
      this.#counts.set(user, mine);
      // A call without sound (silent) still counts, but is not announced.
      if (ping && !(m.flags & 4096)) this.dispatchEvent(new CustomEvent("ping", { detail: { user, message: m } }));
    }
    this.dispatchEvent(new Event("change"));
  }
}
