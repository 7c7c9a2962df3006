// Ctrl/Cmd K: another member or channel by its name.
import { byId, el } from "./dom.js";
import { face, nameOf } from "./message.js";
import { Pop } from "./pop.js";
import { about, sign } from "./sidebar.js";
import { say } from "./words.js";

export class Switcher {
  #box = byId("switcher");
  #field = byId("switch-field");
  #pop = new Pop(byId("switch-list"));

  constructor(store, { play, open }) {
    Object.assign(this, { store, play, open });
    this.#field.addEventListener("input", () => this.#draw());
    this.#field.addEventListener("keydown", (e) => {
      if (this.#pop.key(e) || e.key !== "Enter") return;
      e.preventDefault();
      this.#pop.take();
    });
    this.#box.addEventListener("click", (e) => e.target === this.#box && this.#box.close());
  }

  show() {
    this.#field.value = "";
    this.#draw();
    this.#box.showModal();
    this.#field.focus();
  }

  #all() {
    const { store } = this;
    const people = store.people.filter((u) => u.id !== store.as).map((u) => ({ mark: face(u), title: nameOf(u), note: about(u, store), go: () => this.play(u.id) }));
    const rooms = store.rooms.filter((c) => c.id !== store.channelId).map((c) => ({ mark: el("span", { class: "sign" }, sign(c)), title: store.nameOf(c), note: c.topic ?? "", go: () => this.open(c.id) }));
    return [...people, ...rooms];
  }

  #draw() {
    const text = this.#field.value.trim().toLowerCase();
    const items = this.#all().filter((i) => i.title.toLowerCase().includes(text));
    const take = (item) => {
      this.#box.close();
      item.go();
    };
    this.#pop.show({ field: this.#field, label: say("switcher"), hint: items.length ? "" : say("nothing_found"), items, take, chosen: 0 });
  }
}
