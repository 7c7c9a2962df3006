// The list over the composer: commands, options, values. The field keeps the focus; the list only shows what is chosen.
import { byId, el } from "./dom.js";

export class Pop {
  #box = byId("pop");
  #items = [];
  #at = -1;
  #take = null;
  #field = null;

  constructor() {
    // mousedown would move the focus out of the field before the click arrives.
    this.#box.addEventListener("mousedown", (e) => e.preventDefault());
    this.#box.addEventListener("click", (e) => {
      const row = e.target.closest("[role=option]");
      if (row) this.take(Number(row.dataset.at));
    });
  }

  get open() {
    return !this.#box.hidden;
  }

  get chosen() {
    return this.open ? this.#at : -1;
  }

  get size() {
    return this.open ? this.#items.length : 0;
  }

  /** Shows `items` ({title, note, print}) under a `hint`; `take(item)` is called with the chosen one. */
  show({ field, label, hint, help, items, take, chosen = -1 }) {
    this.#items = items;
    this.#take = take;
    this.#at = Math.min(chosen, items.length - 1);
    if (this.#field && this.#field !== field) this.#unlink();
    this.#field = field;
    const rows = items.map((item, at) => this.#row(item, at));
    const list = el("div", { id: "choices", role: "listbox", "aria-label": label }, rows);
    this.#box.replaceChildren(el("p", { class: "hint" }, el("span", {}, hint), el("span", { class: "help" }, help)), ...(rows.length ? [list] : []));
    this.#box.hidden = false;
    this.#mark();
  }

  #row(item, at) {
    const note = el("span", { class: "note-md" }, item.note ?? "");
    return el("div", { class: "opt", role: "option", id: `choice-${at}`, data: { at } }, el("b", {}, item.title), note, el("span", { class: "edgeprint" }, item.print ?? ""));
  }

  #mark() {
    const rows = this.#box.querySelectorAll("[role=option]");
    rows.forEach((row, at) => row.setAttribute("aria-selected", String(at === this.#at)));
    if (this.#at >= 0) {
      this.#field.setAttribute("aria-activedescendant", `choice-${this.#at}`);
      rows[this.#at].scrollIntoView({ block: "nearest" });
    } else this.#field.removeAttribute("aria-activedescendant");
  }

  #unlink() {
    this.#field.removeAttribute("aria-activedescendant");
  }

  move(by) {
    const n = this.#items.length;
    if (!n) return;
    this.#at = this.#at < 0 ? (by > 0 ? 0 : n - 1) : (this.#at + by + n) % n;
    this.#mark();
  }

  take(at = this.#at) {
    const item = this.#items[at];
    if (item) this.#take(item);
    return Boolean(item);
  }

  hide() {
    if (this.#field) this.#unlink();
    this.#box.hidden = true;
    this.#items = [];
    this.#at = -1;
  }
}
