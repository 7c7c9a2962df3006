// Starts the page: one played member, one open channel, and the keys that lead from anywhere.
import { Acts } from "./act.js";
import { api, sentence } from "./api.js";
import { Composer } from "./compose.js";
import { byId, isHere, linkUrl } from "./dom.js";
import { Inspector } from "./inspector.js";
import { startLightbox } from "./lightbox.js";
import { Log } from "./log.js";
import { nameOf } from "./message.js";
import { openModal } from "./modal.js";
import { RowMenu } from "./rowmenu.js";
import { Sidebar, sign, viewers } from "./sidebar.js";
import { Store } from "./store.js";
import { Switcher } from "./switcher.js";
import { startClock, still } from "./time.js";
import { entered, toast } from "./toast.js";
import { Unread } from "./unread.js";
import { lang, say } from "./words.js";

const params = new URLSearchParams(location.search);
const root = document.documentElement;

function wordsOfPage() {
  root.lang = lang;
  for (const node of document.querySelectorAll("[data-say]")) node.textContent = say(node.dataset.say);
  for (const node of document.querySelectorAll("[data-label]")) node.setAttribute("aria-label", say(node.dataset.label));
  byId("people").dataset.add = say("add_person");
  if (/Mac|iP(hone|ad)/.test(navigator.platform)) document.querySelector("kbd").textContent = "⌘ K";
}

function theme() {
  const button = byId("theme");
  const light = () => getComputedStyle(root).colorScheme === "light";
  const label = () => {
    button.textContent = say(light() ? "theme_dark" : "theme_light");
  };
  const wanted = params.get("theme") ?? localStorage.getItem("theme");
  if (wanted === "light" || wanted === "dark") root.dataset.theme = wanted;
  label();
  button.addEventListener("click", () => {
    root.dataset.theme = light() ? "dark" : "light";
    localStorage.setItem("theme", root.dataset.theme);
    label();
  });
}

/** `?studio=` names the studio's address on this machine, so that the demo's two pages lead to each other. */
function studio() {
  const href = linkUrl(params.get("studio"));
  if (!href || !isHere(href)) return;
  byId("studio").href = href;
  byId("studio").hidden = false;
}

class Page {
  store = new Store();
  unread = new Unread();
  rooms = new Map();

  constructor() {
    const go = { play: (id) => this.play(id), open: (id) => this.open(id) };
    this.log = new Log(this.store, this.unread);
    this.composer = new Composer(this.store);
    this.sidebar = new Sidebar(this.store, this.unread, { ...go, add: () => this.newcomer(), direct: () => this.direct() });
    this.switcher = new Switcher(this.store, go);
    this.inspector = new Inspector(this.store);
    new Acts(this.store, this.log, { inspect: (id) => this.inspector.show(id), open: go.open });
    new RowMenu(this.store, { reply: (m) => this.composer.replyTo(m) });
    this.#listen();
    this.#keys();
    this.#forms();
  }

  #listen() {
    const { store, unread } = this;
    store.addEventListener("state", ({ detail }) => this.#world(detail));
    store.addEventListener("channel", () => this.#place());
    store.addEventListener("modal", ({ detail }) => openModal(detail, store));
    store.addEventListener("link", ({ detail }) => this.#link(detail));
    unread.addEventListener("ping", ({ detail }) => this.#ping(detail));
    unread.addEventListener("again", () => store.refresh().catch(() => location.reload()));
    unread.addEventListener("change", () => this.#title());
    document.addEventListener("visibilitychange", () => !document.hidden && store.as && this.log.toEndIfPinned());
    addEventListener("popstate", () => this.#fromAddress());
  }

  async start() {
    const { store, unread } = this;
    await unread.start(() => (document.hidden ? null : { as: store.as, channelId: store.channelId }));
    store.state = await api.state();
    const asked = (params.get("as") ?? "").toLowerCase();
    const who = store.people.find((u) => u.id === asked || u.username.toLowerCase() === asked) ?? store.people[0];
    if (who) await this.play(who.id, params.get("channel"));
  }

  async play(user, channel = null) {
    if (this.store.as) this.rooms.set(this.store.as, this.store.channelId);
    this.drawer(false);
    await this.#try(async () => this.store.play(user, channel ?? this.rooms.get(user)));
  }

  async open(channel) {
    this.drawer(false);
    if (!this.store.rooms.some((c) => c.id === channel)) return;
    await this.#try(() => this.store.open(channel));
    // On a touch screen the focus would raise the keyboard over what was just opened.
    if (matchMedia("(pointer: fine)").matches) byId("say").focus({ preventScroll: true });
  }

  async direct() {
    await this.#try(async () => {
      const room = await api.dm(this.store.as);
      await this.store.refresh();
      await this.open(room.id);
    });
  }

  async #try(deed) {
    try {
      await deed();
    } catch (error) {
      toast(sentence(error));
    }
  }

  #fromAddress() {
    const at = new URLSearchParams(location.search);
    if (at.get("as") && at.get("as") !== this.store.me?.username) this.play(at.get("as"), at.get("channel"));
    else if (at.get("channel")) this.open(at.get("channel"));
  }

  #world(news) {
    const { store } = this;
    this.#place(false);
    if (news?.created && news.created.id !== store.channelId && news.created.type !== 4) {
      const { id } = news.created;
      toast(say("new_channel", { name: store.nameOf(news.created, "#") }), { act: () => this.open(id), room: id });
    }
    if (news?.deleted && news.deleted.id === store.channelId) {
      toast(say("gone", { name: store.nameOf(news.deleted, "#"), member: nameOf(store.me) }));
      this.open(store.rooms[0]?.id);
    }
    const online = Boolean(store.state.application?.connected);
    byId("presence").className = online ? "state up" : "state queued";
    byId("presence").textContent = say(online ? "bot_on" : "bot_off");
    this.#banner();
  }

  #place(moved = true) {
    const { store } = this;
    const c = store.channel;
    byId("sign").textContent = c ? sign(c) : "";
    byId("title").textContent = c ? store.nameOf(c) : "";
    const seen = c?.private && c.type !== 1 ? say("seen_by", { names: viewers(c, store) }) : null;
    byId("topic").textContent = [seen, c?.topic].filter(Boolean).join(" · ");
    byId("topic").title = byId("topic").textContent;
    this.composer.sync();
    if (moved) entered(store.channelId);
    this.#title();
    if (moved && c && store.as) this.#address();
  }

  #address() {
    const at = new URLSearchParams(location.search);
    const { username } = this.store.me;
    if (at.get("as") === username && at.get("channel") === this.store.channelId) return;
    const first = !at.get("channel");
    at.set("as", username);
    at.set("channel", this.store.channelId);
    history[first ? "replaceState" : "pushState"](null, "", `?${at}`);
  }

  #title() {
    const { as, channel } = this.store;
    const { n, pings } = as ? this.unread.total(as) : { n: 0, pings: 0 };
    const mark = pings ? `(${pings}) ` : n ? "• " : "";
    document.title = `${mark}${channel ? `${sign(channel)} ${this.store.nameOf(channel)} · ` : ""}${say("title")}`;
    const elsewhere = this.store.people.some((u) => this.unread.total(u.id).n);
    byId("menu-dot").hidden = !elsewhere;
  }

  #ping({ user, message }) {
    const { store } = this;
    if (user !== store.as) return;
    const room = store.rooms.find((c) => c.id === message.channel_id);
    if (!room || (room.id === store.channelId && !document.hidden)) return;
    const words = say("ping", { who: nameOf(message.author), name: nameOf(store.me), channel: store.nameOf(room, "#") });
    toast(words, { act: () => this.open(room.id), room: room.id });
  }

  #link({ up, again }) {
    this.#banner();
    if (up && again) byId("status").textContent = say("back");
  }

  #banner() {
    const { store } = this;
    const away = store.state && !store.state.application?.connected;
    const words = store.linked ? (away ? say("away") : "") : say("lost");
    if (byId("banner").textContent !== words) byId("banner").textContent = words;
  }

  #keys() {
    addEventListener("keydown", (e) => {
      const typing = e.target.matches("input, textarea, select");
      const busy = document.querySelector("dialog[open]");
      if ((e.ctrlKey || e.metaKey) && e.key.toLowerCase() === "k") {
        e.preventDefault();
        if (!busy) this.switcher.show();
      } else if (busy) return;
      else if (e.altKey && (e.key === "ArrowDown" || e.key === "ArrowUp")) {
        e.preventDefault();
        this.#walk(e.key === "ArrowDown" ? 1 : -1);
      } else if (e.key === "/" && !typing && !e.ctrlKey && !e.metaKey && !e.altKey) {
        e.preventDefault();
        this.composer.slash();
      } else if (e.key === "Escape") {
        this.drawer(false);
        if (this.inspector.open) this.inspector.toggle(false);
      }
    });
  }

  #walk(by) {
    const ids = [...document.querySelectorAll("#rooms a[data-channel]")].map((a) => a.dataset.channel);
    const at = ids.indexOf(this.store.channelId);
    if (ids.length) this.open(ids[(at + by + ids.length) % ids.length]);
  }

  drawer(open) {
    if (byId("list").classList.contains("open") === open) return;
    byId("list").classList.toggle("open", open);
    byId("menu").setAttribute("aria-expanded", String(open));
    if (open) byId("find").focus();
    else byId("menu").focus();
  }

  #forms() {
    byId("menu").addEventListener("click", () => this.drawer(!byId("list").classList.contains("open")));
    document.addEventListener("click", (e) => e.target.closest("#list, #menu") || this.drawer(false));
    byId("find").addEventListener("click", () => this.switcher.show());
    for (const shut of document.querySelectorAll("dialog [data-shuts]")) shut.addEventListener("click", () => shut.closest("dialog").close());
    byId("newcomer").querySelector("form").addEventListener("submit", (e) => {
      e.preventDefault();
      this.#join();
    });
  }

  newcomer() {
    byId("newcomer-name").value = "";
    byId("newcomer-wrong").textContent = "";
    byId("newcomer").showModal();
  }

  async #join() {
    try {
      const user = await api.newUser({ username: byId("newcomer-name").value, locale: byId("newcomer-language").value });
      await api.newMember({ guild_id: this.store.guild.id, user: user.id });
      byId("newcomer").close();
      await this.play(user.id);
    } catch (error) {
      byId("newcomer-wrong").textContent = sentence(error);
    }
  }
}

wordsOfPage();
theme();
studio();
root.classList.toggle("still", still);
startClock();
startLightbox();
// Until the server answers there is nothing to show: ask again, as the newcomer may have started the page first.
const page = new Page();
const begin = () => page.start().catch(() => {
  byId("banner").textContent = say("no_answer");
  setTimeout(begin, 2000);
});
begin();
