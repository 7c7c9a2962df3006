// Inspect: the limits under each message, and one message as it was sent.
import { byId, el } from "./dom.js";
import { FLAGS } from "./message.js";
import { measures } from "./limits.js";
import { say } from "./words.js";

// The rehearsal's own additions are shown apart: they were never on the wire.
const OWN = new Set(["ephemeral_for", "loading", "command", "deleted", "counts"]);

export class Inspector {
  #shown = null;

  constructor(store) {
    this.store = store;
    store.addEventListener("message", ({ detail }) => detail.message.id === this.#shown && this.#draw());
    for (const type of ["channel", "interaction"]) store.addEventListener(type, () => this.#draw());
    byId("inspect").addEventListener("click", () => this.toggle());
    byId("inspector-shut").addEventListener("click", () => this.toggle(false));
  }

  get open() {
    return !byId("inspector").hidden;
  }

  toggle(on = !this.open) {
    byId("inspector").hidden = !on;
    byId("inspect").setAttribute("aria-pressed", String(on));
    document.documentElement.classList.toggle("inspecting", on);
    this.#draw();
    if (!on) byId("inspect").focus();
  }

  show(id) {
    if (!this.open) return;
    this.#shown = id;
    this.#draw();
  }

  #draw() {
    if (!this.open) return;
    const list = this.store.list();
    const m = this.store.messages.get(this.#shown) ?? list.at(-1);
    for (const row of document.querySelectorAll(".msg.inspected")) row.classList.remove("inspected");
    byId("inspected").replaceChildren(...(m ? [this.#facts(m), this.#asked(), this.#raw(m)] : [el("p", { class: "meta" }, say("inspector_hint"))]).filter(Boolean));
    if (m) document.querySelector(`[data-message-id="${CSS.escape(m.id)}"]`)?.classList.add("inspected");
  }

  #facts(m) {
    const flags = Object.entries(FLAGS).filter(([, bit]) => m.flags & bit).map(([name]) => name.toLowerCase());
    const rows = [["id", m.id], ["nonce", m.nonce], ["flags", flags.join(", ") || m.flags], ...measures(m).map(([n, max, key]) => [say(`${key}_label`), `${n} / ${max}`])];
    return el("dl", { class: "facts" }, rows.filter(([, v]) => v !== null && v !== undefined).map(([k, v]) => [el("dt", {}, k), el("dd", {}, String(v))]));
  }

  #asked() {
    const last = [...this.store.interactions.values()].slice(-8).reverse();
    if (!last.length) return null;
    const one = (i) => el("li", {}, el("span", {}, `${i.kind} ${i.name ?? ""}`), el("b", { class: i.state === "failed" ? "over" : null }, i.acked_after_ms === null || i.acked_after_ms === undefined ? i.state : `${Math.round(i.acked_after_ms)} ms`));
    return el("ul", { class: "asked-list edgeprint" }, last.map(one));
  }

  #raw(m) {
    const sent = Object.fromEntries(Object.entries(m).filter(([key]) => !OWN.has(key)));
    return el("pre", { class: "raw", tabindex: "0", "aria-label": say("raw") }, JSON.stringify(sent, null, 2));
  }
}
