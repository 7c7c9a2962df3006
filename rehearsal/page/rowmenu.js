// The "⋯" of a message: what a member can do with it. One menu for all rows.
import { api } from "./api.js";
import { byId, el } from "./dom.js";
import { plainText } from "./markdown.js";
import { menuCommands } from "./slash.js";
import { toast } from "./toast.js";
import { say } from "./words.js";

const MESSAGE = 3;

export class RowMenu {
  #box = byId("row-menu");

  constructor(store, { reply }) {
    Object.assign(this, { store, reply });
    byId("log").addEventListener("click", (e) => {
      const more = e.target.closest(".more");
      if (more) this.#show(more);
    });
    this.#box.addEventListener("keydown", (e) => this.#key(e));
  }

  #entries(m) {
    const { store } = this;
    const tell = (text) => navigator.clipboard?.writeText(text).then(() => toast(say("copied")), () => {});
    const ask = (send) => () => send().catch((error) => toast(error.message ? say("refused", { why: error.message }) : say("no_answer")));
    const mine = m.author.id === store.as || this.#moderates();
    const apps = menuCommands(store.state.commands, MESSAGE, store.me?.locale);
    return [
      !m.ephemeral_for && store.channel?.me?.can.send && [say("reply"), () => this.reply(m)],
      [say("copy_text"), () => tell(this.#words(m))],
      [say("copy_id"), () => tell(m.id)],
      ...apps.map((c) => [c.shown, ask(() => api.menu({ as: store.as, channel_id: m.channel_id, name: c.name, target_id: m.id }))]),
      (mine || m.ephemeral_for) && [say(m.ephemeral_for ? "dismiss" : "remove_message"), ask(() => api.deleteMessage({ as: store.as, message_id: m.id })), "bad"],
    ].filter(Boolean);
  }

  #words(m) {
    const texts = (list) => list.flatMap((c) => (c.type === 10 ? [c.content] : texts(c.components ?? [])));
    return m.content || texts(m.components ?? []).map((t) => plainText(t, this.store.context())).join("\n");
  }

  #moderates() {
    const manageMessages = 1n << 13n;
    return Boolean(BigInt(this.store.channel?.me?.permissions ?? 0) & manageMessages);
  }

  #show(more) {
    const m = this.store.messages.get(more.closest(".msg").dataset.messageId);
    if (!m) return;
    const entry = ([label, act, kind]) => {
      const button = el("button", { class: kind ? `entry ${kind}` : "entry", type: "button", role: "menuitem" }, label);
      button.addEventListener("click", () => {
        this.#box.hidePopover();
        act();
      });
      return button;
    };
    this.#box.replaceChildren(el("div", { role: "menu", "aria-label": say("actions") }, this.#entries(m).map(entry)));
    this.#box.showPopover();
    const from = more.getBoundingClientRect();
    const own = this.#box.getBoundingClientRect();
    this.#box.style.left = `${Math.max(8, from.right - own.width)}px`;
    this.#box.style.top = `${Math.max(8, Math.min(from.bottom + 4, innerHeight - own.height - 8))}px`;
    this.#box.querySelector("button").focus();
  }

  #key(e) {
    const by = { ArrowDown: 1, ArrowUp: -1 }[e.key];
    if (!by) return;
    e.preventDefault();
    const all = [...this.#box.querySelectorAll("button")];
    all[(all.indexOf(document.activeElement) + by + all.length) % all.length].focus();
  }
}
