// A slash command being written: one slot an option, each a small field with its name before it.
import { el } from "./dom.js";
import { KIND } from "./slash.js";
import { say } from "./words.js";

const NUMERIC = new Set([KIND.INTEGER, KIND.NUMBER]);

function field(option) {
  if (option.type === KIND.FILE) return el("input", { type: "file", "aria-label": option.shown });
  const mode = NUMERIC.has(option.type) ? "decimal" : null;
  return el("textarea", { rows: 1, cols: 6, inputmode: mode, "aria-label": option.shown, "aria-autocomplete": "list", "aria-controls": "pop", autocomplete: "off", spellcheck: "false" });
}

export class Draft {
  slots = [];

  constructor(command, values, host) {
    this.command = command;
    this.host = host;
    for (const o of command.options) if (o.required || values[o.name] !== undefined) this.add(o, values[o.name] ?? "");
  }

  get left() {
    return this.command.options.filter((o) => !this.slots.some((s) => s.option.name === o.name));
  }

  get empty() {
    return this.slots.every((s) => !s.text && s.value === undefined);
  }

  slotOf(node) {
    return this.slots.find((s) => s.field === node) ?? null;
  }

  slotFor(option) {
    return this.slots.find((s) => s.option.name === option.name) ?? this.add(option);
  }

  add(option, text = "") {
    const slot = { option, text, value: undefined, field: field(option) };
    const drop = !option.required && el("button", { class: "drop", type: "button", "aria-label": `${say("remove")} ${option.shown}` }, "×");
    slot.box = el("span", { class: "slot" }, el("b", { "aria-hidden": "true" }, option.shown), slot.field, drop);
    if (drop) drop.addEventListener("click", () => this.remove(slot));
    if (text) slot.field.value = text;
    this.slots.push(slot);
    this.host.append(slot.box);
    return slot;
  }

  remove(slot) {
    this.slots = this.slots.filter((s) => s !== slot);
    slot.box.remove();
    this.host.dispatchEvent(new Event("slotgone", { bubbles: true }));
  }

  /** Takes over what was typed in a slot; a value chosen before no longer holds. */
  read(slot) {
    if (slot.option.type === KIND.FILE) slot.file = slot.field.files[0] ?? null;
    else slot.text = slot.field.value.replace(/\n/g, " ");
    slot.text = slot.file?.name ?? slot.text;
    slot.value = undefined;
  }

  choose(slot, { value, label }) {
    slot.text = label;
    slot.value = value;
    slot.field.value = label;
  }

  /** The field to write in next: the first needed one that is empty, else none. */
  next() {
    return this.slots.find((s) => s.option.required && !s.text && s.value === undefined)?.field ?? null;
  }
}
