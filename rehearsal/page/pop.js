// A list under or over a field: commands, options, values, people. The field keeps the focus; the list shows what is chosen.
import { el } from "./dom.js";

export class Pop {
  #items = [];
  #at = -1;
  #take = null;
  #field = null;

  constructor(box) {
    this.box = box;
    // mousedown would move the focus out of the field before the click arrives.
    box.addEventListener("mousedown", (e) => e.preventDefault());
    box.addEventListener("click", (e) => {
      const row = e.target.closest("[role=option]");
      if (row) this.take(Number(row.dataset.at));
    });
  }

  get chosen() {
    return this.#at;
  }

  get size() {
    return this.#items.length;
  }

  /** Shows `items` ({mark, title, note, print}) under a `hint`; `take(item)` is called with the chosen one. */
  show({ field, label, hint, help, items, take, chosen = -1 }) {
    this.#field?.removeAttribute("aria-activedescendant");
    this.#items = items;
    this.#take = take;
    this.#field = field;
    const rows = items.map((item, at) => this.#row(item, at));
    const list = el("div", { class: "choices", role: "listbox", "aria-label": label }, rows);
    this.box.replaceChildren(el("p", { class: "hint" }, el("span", {}, hint), el("span", { class: "help" }, help)), ...(rows.length ? [list] : []));
    this.box.hidden = false;
    this.#mark(Math.min(chosen, items.length - 1));
  }

  #row({ mark, title, note, print }, at) {
    const props = { class: mark ? "opt pick" : "opt", role: "option", id: `${this.box.id}-${at}`, data: { at } };
    return el("div", props, mark, el("b", {}, title), el("span", { class: "note-md" }, note), el("span", { class: "edgeprint" }, print));
  }

  #mark(at) {
    this.#at = at;
    const rows = [...this.box.querySelectorAll("[role=option]")];
    for (const row of rows) row.setAttribute("aria-selected", String(row === rows[at]));
    if (rows[at]) this.#field.setAttribute("aria-activedescendant", rows[at].id);
    else this.#field.removeAttribute("aria-activedescendant");
    rows[at]?.scrollIntoView({ block: "nearest" });
  }

  /** ↑ and ↓; true when the key was one of them and there is something to choose. */
  key(e) {
    const by = { ArrowDown: 1, ArrowUp: -1 }[e.key];
    const n = this.#items.length;
    if (!by || !n || e.altKey) return false;
    e.preventDefault();
    this.#mark(this.#at < 0 && by < 0 ? n - 1 : (this.#at + by + n) % n);
    return true;
  }

  take(at = this.#at) {
    const item = this.#items[at];
    if (item) this.#take(item);
    return Boolean(item);
  }

  hide() {
    this.#field?.removeAttribute("aria-activedescendant");
    this.box.hidden = true;
    this.#items = [];
    this.#at = -1;
  }
}
