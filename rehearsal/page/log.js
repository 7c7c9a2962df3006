// The message log: rows in order of their ids, changed in place, the newest kept in sight while the reader is down there.
import { byId, el } from "./dom.js";
import { plainText } from "./markdown.js";
import { face, follows, messageRow, nameOf, usedLine } from "./message.js";
import { morph } from "./morph.js";
import { day, moment } from "./time.js";
import { say } from "./words.js";

const NEAR = 48;
const TOP = 160;
// A bot that answers at once should not make a row appear and vanish.
const SLOW = 350;
const RARELY = 15_000;
const older = (a, b) => (BigInt(a.id) < BigInt(b.id) ? -1 : 1);

export class Log {
  #box = byId("log");
  #rows = byId("rows");
  #newest = byId("newest");
  #states = new Map();
  #dismissed = new Set();
  #pinned = true;
  #missed = 0;
  #unseen = 0;
  #firstNew = null;
  #spoken = 0;
  #waiting = null;
  #loading = false;
  #have = new Map();
  // What each row was drawn from: one that would come out the same is not drawn again.
  #sources = new WeakMap();
  #world = 0;

  constructor(store, unread) {
    this.store = store;
    this.unread = unread;
    this.#box.addEventListener("scroll", () => this.#scrolled(), { passive: true });
    this.#newest.addEventListener("click", () => this.toEnd());
    const keep = new ResizeObserver(() => this.#pinned && this.#down());
    keep.observe(this.#rows);
    keep.observe(this.#box);
    store.addEventListener("channel", () => this.#opening());
    store.addEventListener("log", () => this.draw());
    store.addEventListener("state", () => {
      this.#world += 1;
      this.draw();
    });
    store.addEventListener("message", ({ detail }) => this.#put(detail.message, detail.fresh));
    store.addEventListener("removed", () => this.draw());
    store.addEventListener("interaction", ({ detail }) => this.#interaction(detail));
    store.addEventListener("typing", () => this.#typing());
    store.addEventListener("sent", () => this.toEnd());
  }

  row(id) {
    return this.#rows.querySelector(`[data-message-id="${CSS.escape(id)}"]`);
  }

  /** What the page itself knows of a message's controls: `{busy: custom_id}` or `{failed: sentence}`. */
  mark(id, state) {
    if (state) this.#states.set(id, state);
    else this.#states.delete(id);
    this.draw();
  }

  dismiss(id) {
    this.#dismissed.add(id);
    this.draw();
  }

  #opening() {
    this.#states.clear();
    this.#pinned = true;
    this.#missed = 0;
    this.#rows.replaceChildren();
    const { as, channelId } = this.store;
    this.#unseen = channelId ? this.unread.of(as, channelId).n : 0;
    this.#firstNew = null;
    this.#button();
    this.#typing();
  }

  #items() {
    const asked = [...this.store.interactions.values()].filter((i) => this.#visible(i)).map((i) => ({ id: i.id, asked: i }));
    return [...this.store.list(), ...asked].sort(older);
  }

  /** A command shows as a row of its own only while nothing came of it. */
  #visible(i) {
    const open = i.state === "waiting" ? !i.fresh : i.state === "failed";
    return open && (i.kind === "slash" || i.kind === "menu") && !this.#dismissed.has(i.id);
  }

  #node(item, before) {
    return item.asked ? this.#asked(item.asked) : this.#message(item, before?.asked ? null : before);
  }

  #message(m, before) {
    const state = this.#states.get(m.id);
    const source = [m, before?.id, state, this.#world];
    const old = this.#have.get(`m-${m.id}`);
    if (old && this.#sources.get(old)?.every((part, at) => part === source[at])) return old;
    const sameDay = before && day(moment(before.id)) === day(moment(m.id));
    const row = messageRow(m, this.store.context(), { grouped: Boolean(sameDay) && follows(m, before), state });
    if (state?.busy) {
      for (const node of row.querySelectorAll("[data-custom]")) if (node.dataset.custom === state.busy) node.setAttribute("aria-busy", "true");
    }
    this.#sources.set(row, source);
    return row;
  }

  #asked(i) {
    const failed = i.state === "failed";
    const dismiss = el("button", { class: "btn plain small", type: "button", data: { act: "dismiss" } }, say("dismiss"));
    const words = failed ? el("p", { class: "failed" }, say("failed"), " ", dismiss) : el("p", { class: "thinking" }, say("pending"));
    const bot = this.store.bot;
    const by = el("p", { class: "by" }, el("b", {}, nameOf(bot)), el("span", { class: "tag" }, say("bot")));
    const head = el("div", { class: "head" }, usedLine({ user_id: i.user_id, name: i.name }, this.store.context()), face(bot), by);
    return el("article", { class: "msg asked", data: { interactionId: i.id, row: `i-${i.id}` } }, head, words);
  }

  draw() {
    if (!this.store.ready) return;
    const items = this.#items();
    // The line before what is new stays where it was when the channel was opened.
    this.#firstNew ??= items.at(-this.#unseen || items.length)?.id ?? null;
    this.#have = new Map([...this.#rows.children].map((node) => [node.dataset.row, node]));
    const wanted = items.flatMap((item, at) => {
      const before = items[at - 1] ?? null;
      return [...this.#lines(item, before), this.#node(item, before)];
    });
    if (!this.store.older) wanted.unshift(this.#start());
    if (!items.length && this.store.channel) wanted.push(el("p", { class: "empty", data: { row: "empty" } }, say("empty")));
    const height = this.#box.scrollHeight;
    this.#arrange(wanted);
    if (this.#loading) this.#box.scrollTop += this.#box.scrollHeight - height;
    else if (this.#pinned) this.#down();
    this.#seen();
  }

  /** Rows that stay are neither taken out nor moved: that would lose the focus and read them out again. */
  #arrange(wanted) {
    const nodes = wanted.map((fresh) => {
      const old = this.#have.get(fresh.dataset.row);
      if (!old || old === fresh) return fresh;
      // A row is read out when it comes; what changes in it later is told by the status line instead, and rarely.
      fresh.setAttribute("aria-live", "off");
      morph(old, fresh);
      this.#sources.set(old, this.#sources.get(fresh));
      return old;
    });
    const stays = new Set(nodes);
    for (const node of [...this.#rows.children]) if (!stays.has(node)) node.remove();
    let now = this.#rows.firstElementChild;
    for (const node of nodes) {
      if (node === now) now = now.nextElementSibling;
      else this.#rows.insertBefore(node, now);
    }
  }

  #start() {
    const { channel } = this.store;
    const title = channel ? say("start", { name: this.store.nameOf(channel, "#") }) : say("no_channels", { name: this.store.context().myName });
    return el("div", { class: "start", data: { row: "start" } }, el("p", { class: "title" }, title), channel?.topic && el("p", { class: "meta" }, channel.topic));
  }

  #lines(item, before) {
    const out = [];
    const at = moment(item.id);
    if (before ? day(moment(before.id)) !== day(at) : true) out.push(el("p", { class: "rule", data: { row: `day-${item.id}` } }, el("span", {}, day(at))));
    if (item.id === this.#firstNew) out.push(el("p", { class: "rule news", data: { row: "new" } }, el("span", {}, say("new_messages"))));
    return out;
  }

  #put(m, fresh) {
    const known = this.row(m.id);
    if (fresh) this.#states.delete(m.id);
    this.draw();
    if (known) this.#speak(m);
    else if (!this.#pinned && m.author.id !== this.store.as) this.#missed += 1;
    this.#button();
  }

  /** Tells the first lines of a changed card, at most every 15 s; the newest wins. */
  #speak(m) {
    if (!m.author.bot || m.author.id === this.store.as) return;
    clearTimeout(this.#waiting);
    const tell = () => {
      this.#spoken = Date.now();
      const texts = [...(this.row(m.id)?.querySelectorAll(".parts .text") ?? [])].slice(0, 2);
      byId("status").textContent = texts.map((t) => t.textContent).join(". ") || plainText(m.content, this.store.context());
    };
    this.#waiting = setTimeout(tell, Math.max(0, this.#spoken + RARELY - Date.now()));
  }

  #interaction({ interaction: i, event }) {
    if (i.message_id && i.kind !== "slash" && event !== "INTERACTION_CREATE" && event !== "INTERACTION_UPDATE") {
      this.mark(i.message_id, event === "INTERACTION_FAILED" ? { failed: say("failed") } : null);
    }
    if (i.kind !== "slash" && i.kind !== "menu") return;
    if (event === "INTERACTION_CREATE") {
      i.fresh = true;
      setTimeout(() => {
        i.fresh = false;
        if (this.store.interactions.get(i.id) === i && i.state === "waiting") this.draw();
      }, SLOW);
    } else if (event !== "INTERACTION_UPDATE") this.draw();
  }

  #typing() {
    const names = [...this.store.typing].filter(([, until]) => until > Date.now()).map(([id]) => nameOf(this.store.user(id)));
    byId("typing").textContent = names.length ? say("typing", { name: names.join(", ") }) : "";
    if (names.length) setTimeout(() => this.#typing(), 2000);
  }

  #down() {
    this.#box.scrollTop = this.#box.scrollHeight;
  }

  toEnd() {
    this.#pinned = true;
    this.#missed = 0;
    this.#down();
    this.#button();
  }

  /** Back at the page: what came meanwhile and is in sight now counts as seen. */
  toEndIfPinned() {
    if (this.#pinned) this.toEnd();
    this.#seen();
  }

  #button() {
    this.#newest.hidden = this.#pinned;
    this.#newest.textContent = this.#missed ? `↓ ${say("unread", { n: this.#missed })}` : `↓ ${say("to_newest")}`;
  }

  #scrolled() {
    const left = this.#box.scrollHeight - this.#box.scrollTop - this.#box.clientHeight;
    this.#pinned = left < NEAR;
    if (this.#pinned) this.#missed = 0;
    this.#button();
    this.#seen();
    if (this.#box.scrollTop < TOP && this.store.older && !this.#loading) this.#more();
  }

  async #more() {
    this.#loading = true;
    try {
      if (await this.store.readOlder()) this.draw();
    } finally {
      this.#loading = false;
    }
  }

  #seen() {
    if (this.#pinned && !document.hidden && this.store.channelId) this.unread.seen(this.store.as, this.store.channelId);
  }
}
