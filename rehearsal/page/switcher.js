// Ctrl/Cmd K: another member or channel by its name.
import { byId, el } from "./dom.js";
import { face, nameOf } from "./message.js";
import { about, sign } from "./sidebar.js";
import { say } from "./words.js";

export class Switcher {
  #box = byId("switcher");
  #field = byId("switch-field");
  #list = byId("switch-list");
  #items = [];
  #at = 0;

  constructor(store, { play, open }) {
    Object.assign(this, { store, play, open });
    this.#field.addEventListener("input", () => this.#draw());
    this.#field.addEventListener("keydown", (e) => this.#key(e));
    this.#list.addEventListener("click", (e) => {
      const row = e.target.closest("[role=option]");
      if (row) this.#go(Number(row.dataset.at));
    });
    this.#box.addEventListener("click", (e) => e.target === this.#box && this.#box.close());
  }

  show() {
    this.#field.value = "";
    this.#draw();
    if (!this.#box.open) this.#box.showModal();
    this.#field.focus();
  }

  #all() {
    const people = this.store.people.filter((u) => u.id !== this.store.as).map((u) => ({ name: nameOf(u), note: about(u, this.store), mark: face(u), go: () => this.play(u.id) }));
    const rooms = this.store.rooms.filter((c) => c.id !== this.store.channelId).map((c) => ({ name: c.name ?? nameOf(this.store.bot), note: c.topic ?? "", mark: el("span", { class: "sign" }, sign(c)), go: () => this.open(c.id) }));
    return [...people, ...rooms];
  }

  #draw() {
    const text = this.#field.value.trim().toLowerCase();
    this.#items = this.#all().filter((i) => i.name.toLowerCase().includes(text));
    this.#at = 0;
    const rows = this.#items.map((i, at) => el("div", { class: "opt pick", role: "option", id: `switch-${at}`, data: { at } }, i.mark, el("b", {}, i.name), el("span", { class: "note-md" }, i.note)));
    this.#list.replaceChildren(...rows);
    byId("switch-none").textContent = rows.length ? "" : say("nothing_found");
    this.#mark();
  }

  #mark() {
    [...this.#list.children].forEach((row, at) => row.setAttribute("aria-selected", String(at === this.#at)));
    const row = this.#list.children[this.#at];
    if (row) this.#field.setAttribute("aria-activedescendant", row.id);
    else this.#field.removeAttribute("aria-activedescendant");
    row?.scrollIntoView({ block: "nearest" });
  }

  #key(e) {
    const by = { ArrowDown: 1, ArrowUp: -1 }[e.key];
    if (by && this.#items.length) {
      e.preventDefault();
      this.#at = (this.#at + by + this.#items.length) % this.#items.length;
      this.#mark();
    } else if (e.key === "Enter") {
      e.preventDefault();
      this.#go(this.#at);
    }
  }

  #go(at) {
    const item = this.#items[at];
    if (!item) return;
    this.#box.close();
    item.go();
  }
}
