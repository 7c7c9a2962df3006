// The list at the side: who is played, and the channels that member sees. Nothing they may not see is ever in it.
import { byId, el } from "./dom.js";
import { face, nameOf } from "./message.js";
import { lang, say } from "./words.js";

const CATEGORY = 4;
const THREADS = new Set([10, 11, 12]);
const order = (a, b) => (a.position ?? 0) - (b.position ?? 0) || (BigInt(a.id) < BigInt(b.id) ? -1 : 1);

/** Channels without category first, then each category with its own; threads follow their channel. */
export function groups(channels) {
  const rooms = channels.filter((c) => c.type !== CATEGORY && c.type !== 2 && !THREADS.has(c.type)).sort(order);
  const threads = (id) => channels.filter((c) => THREADS.has(c.type) && c.parent_id === id && !c.thread?.archived).sort(order);
  const within = (parent) => rooms.filter((c) => (c.parent_id ?? null) === parent).flatMap((c) => [c, ...threads(c.id)]);
  const categories = channels.filter((c) => c.type === CATEGORY).sort(order);
  const known = new Set(categories.map((c) => c.id));
  const loose = rooms.filter((c) => c.parent_id && !known.has(c.parent_id)).flatMap((c) => [c, ...threads(c.id)]);
  const all = [{ category: null, rooms: [...within(null), ...loose] }, ...categories.map((c) => ({ category: c, rooms: within(c.id) }))];
  return all.filter((g) => g.rooms.length);
}

export const sign = (c) => (c.type === 1 ? "@" : THREADS.has(c.type) ? "↳" : c.private ? "◆" : "#");

export function about(user, store) {
  const member = store.member(user.id);
  const roles = (member?.roles ?? []).map((id) => store.guild.roles.find((r) => r.id === id)).filter((r) => r && !r.managed).map((r) => r.name);
  const language = user.locale && user.locale.split("-")[0] !== lang ? new Intl.DisplayNames(lang, { type: "language" }).of(user.locale.split("-")[0]) : null;
  return [member?.owner && say("owner"), ...roles, language].filter(Boolean).join(", ") || say("member");
}

/** "Ada, Mara, and the bot": who can read a channel. */
export function viewers(channel, store) {
  const humans = (channel.viewers ?? []).map((id) => store.user(id)).filter((u) => u && !u.bot);
  return new Intl.ListFormat(lang, { type: "conjunction" }).format([...humans.map(nameOf), say("bot_word")]);
}

export class Sidebar {
  constructor(store, unread, { play, open, add, direct }) {
    Object.assign(this, { store, unread, open, play });
    for (const type of ["state", "channel"]) store.addEventListener(type, () => this.draw());
    unread.addEventListener("change", () => this.draw());
    byId("people").addEventListener("click", (e) => {
      const who = e.target.closest("[data-user]");
      if (who) play(who.dataset.user);
      else if (e.target.closest("[data-add]")) add();
    });
    byId("rooms").addEventListener("click", (e) => {
      const room = e.target.closest("a[data-channel]");
      if (!room && e.target.closest("[data-direct]")) direct();
      if (!room || e.ctrlKey || e.metaKey || e.shiftKey) return;
      e.preventDefault();
      open(room.dataset.channel);
    });
  }

  draw() {
    if (!this.store.state) return;
    this.#keep(byId("people"), this.#people());
    this.#keep(byId("rooms"), this.#rooms());
  }

  /** Redraws a part and gives the focus back to the entry that had it. */
  #keep(box, nodes) {
    const at = box.contains(document.activeElement) ? document.activeElement.id : null;
    const { scrollTop } = box.parentElement;
    box.replaceChildren(...nodes);
    box.parentElement.scrollTop = scrollTop;
    if (at) byId(at)?.focus();
  }

  #badge({ n, pings }) {
    if (!n) return null;
    if (!pings) return el("span", { class: "dot" }, el("span", { class: "vh" }, say("unread", { n })));
    return el("span", { class: "new" }, el("span", { "aria-hidden": "true" }, pings), el("span", { class: "vh" }, say("pinged", { n: pings })));
  }

  #people() {
    const one = (user) => {
      const mine = user.id === this.store.as;
      const note = (mine ? null : this.#badge(this.unread.total(user.id))) ?? el("span", { class: "meta" }, about(user, this.store));
      return el("button", { class: "who", id: `who-${user.id}`, type: "button", "aria-pressed": String(mine), data: { user: user.id } }, face(user), el("span", { class: "name" }, nameOf(user)), note);
    };
    const add = el("button", { class: "who", id: "who-add", type: "button", data: { add: "" } }, el("span", { class: "face", "aria-hidden": "true" }, "+"), byId("people").dataset.add);
    return [...this.store.people.map(one), add];
  }

  #room(c) {
    const { as, channelId } = this.store;
    const count = this.unread.of(as, c.id);
    const href = `?as=${encodeURIComponent(this.store.me.username)}&channel=${c.id}`;
    const here = c.id === channelId;
    const name = this.store.nameOf(c);
    const props = { class: `room${count.n ? " fresh" : ""}${sign(c) === "↳" ? " thread" : ""}`, id: `room-${c.id}`, href, "aria-current": here ? "page" : null, data: { channel: c.id }, title: c.private ? say("private_to", { names: viewers(c, this.store) }) : null };
    return el("a", props, el("span", { class: "sign", "aria-hidden": "true" }, sign(c)), el("span", { class: "name" }, name), this.#badge(count));
  }

  #rooms() {
    const { store } = this;
    const name = store.me ? nameOf(store.me) : "";
    const several = store.guilds.length > 1;
    const guilds = store.guilds.map((g) => this.#guild(several ? g.name : say("channels", { name }), groups(g.channels)));
    const dms = store.state.dms ?? [];
    const ask = !dms.length && store.bot && el("button", { class: "room", id: "room-direct", type: "button", data: { direct: "" } }, el("span", { class: "sign", "aria-hidden": "true" }, "@"), el("span", { class: "name" }, nameOf(store.bot)));
    const direct = el("section", {}, el("h2", {}, say("direct")), dms.map((c) => this.#room(c)), ask);
    return [...guilds, direct];
  }

  #guild(title, all) {
    const none = !all.length && el("p", { class: "meta" }, say("no_channels", { name: nameOf(this.store.me) }));
    return el("section", {}, el("h2", {}, title), none, all.map(({ category, rooms }) => [category && el("h3", {}, category.name), rooms.map((c) => this.#room(c))]));
  }
}
