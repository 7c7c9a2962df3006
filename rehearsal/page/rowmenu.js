// The "⋯" of a message: what a member can do with it. One menu for all rows.
import { api, sentence } from "./api.js";
import { byId, el } from "./dom.js";
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
  }

  #entries(m) {
    const { store } = this;
    const ask = (send) => () => send().catch((error) => toast(sentence(error)));
    const mine = m.author.id === store.as || this.#moderates();
    const apps = menuCommands(store.state.commands, MESSAGE, store.me?.locale);
    return [
      !m.ephemeral_for && store.channel?.me?.can.send && [say("reply"), () => this.reply(m)],
      [say("copy_id"), () => navigator.clipboard?.writeText(m.id).then(() => toast(say("copied")))],
      ...apps.map((c) => [c.shown, ask(() => api.menu({ as: store.as, channel_id: m.channel_id, name: c.name, target_id: m.id }))]),
      (mine || m.ephemeral_for) && [say(m.ephemeral_for ? "dismiss" : "remove_message"), ask(() => api.deleteMessage({ as: store.as, message_id: m.id })), "bad"],
    ].filter(Boolean);
  }

  #moderates() {
    const manageMessages = 1n << 13n;
    return Boolean(BigInt(this.store.channel?.me?.permissions ?? 0) & manageMessages);
  }

  #show(more) {
    const m = this.store.messages.get(more.closest(".msg").dataset.messageId);
    if (!m) return;
    const entry = ([label, act, kind]) => {
      const button = el("button", { class: kind ? `entry ${kind}` : "entry", type: "button" }, label);
      button.addEventListener("click", () => {
        this.#box.hidePopover();
        act();
      });
      return button;
    };
    this.#box.replaceChildren(...this.#entries(m).map(entry));
    this.#box.showPopover();
    const from = more.getBoundingClientRect();
    const own = this.#box.getBoundingClientRect();
    this.#box.style.left = `${Math.max(8, from.right - own.width)}px`;
    this.#box.style.top = `${Math.max(8, Math.min(from.bottom + 4, innerHeight - own.height - 8))}px`;
    this.#box.querySelector("button").focus();
  }
}
