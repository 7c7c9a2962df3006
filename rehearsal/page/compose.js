// The composer: plain messages, files, and slash commands with their options as slots.
import { api, sentence } from "./api.js";
import { byId, el } from "./dom.js";
import { Draft } from "./draft.js";
import { nameOf } from "./message.js";
import { Pop } from "./pop.js";
import { check, commandIn, matching, ownValues, slashCommands, split, suggest, takes } from "./slash.js";
import { say } from "./words.js";

const LONGEST = 2000;
const NEAR = 1800;
const PAUSE = 150;

export class Composer {
  #form = byId("compose");
  #field = byId("say");
  #slots = byId("slots");
  #wrong = byId("wrong");
  #pop = new Pop(byId("pop"));
  #draft = null;
  #kept = new Map();
  #place = null;
  #files = [];
  #busy = false;
  #asked = 0;
  #reply = null;

  constructor(store) {
    this.store = store;
    this.#form.addEventListener("submit", (e) => {
      e.preventDefault();
      this.submit();
    });
    this.#form.addEventListener("input", (e) => this.#input(e));
    this.#form.addEventListener("keydown", (e) => this.#key(e));
    this.#form.addEventListener("focusin", () => this.#suggest());
    this.#form.addEventListener("focusout", (e) => this.#form.contains(e.relatedTarget) || this.#pop.hide());
    this.#form.addEventListener("slotgone", () => this.#focus(this.#field));
    this.#form.addEventListener("paste", (e) => this.#paste(e));
    byId("attach").addEventListener("click", () => byId("picker").click());
    byId("picker").addEventListener("change", (e) => this.#addFiles([...e.target.files]));
  }

  get #commands() {
    const guild = this.store.channel?.guild_id ?? null;
    const here = (this.store.state?.commands ?? []).filter((c) => !c.guild_id || c.guild_id === guild);
    return slashCommands(here, this.store.me?.locale);
  }

  /** Follows the played member and the open channel; what was being written there comes back. */
  sync() {
    const { as, channel, me } = this.store;
    const place = channel ? `${as} ${channel.id}` : null;
    if (place !== this.#place) this.#move(place);
    const may = Boolean(channel && (channel.me?.can.send ?? true));
    this.#field.disabled = !may;
    byId("attach").disabled = !may;
    byId("send").disabled = !may;
    this.#form.setAttribute("aria-label", say("write_as", { name: me ? nameOf(me) : "" }));
    const words = may ? say("write", { name: this.store.nameOf(channel, "#") }) : say("no_send", { name: me ? nameOf(me) : "" });
    this.#field.setAttribute("aria-label", words);
    if (!this.#draft) this.#field.placeholder = channel ? words : "";
  }

  #move(place) {
    if (this.#place) this.#kept.set(this.#place, this.#draft ? "" : this.#field.value);
    this.#place = place;
    this.#leave(this.#kept.get(place) ?? "");
    this.#reply = null;
    this.#files = [];
    this.#drawFiles();
  }

  slash() {
    this.#field.focus();
    if (!this.#draft && !this.#field.value) this.#field.value = "/";
    this.#suggest();
  }

  replyTo(message) {
    this.#reply = message;
    this.#drawFiles();
    this.#field.focus();
  }

  #leave(text = "") {
    this.#draft = null;
    this.#slots.replaceChildren();
    this.#field.value = text;
    this.#field.placeholder = this.#field.getAttribute("aria-label") ?? "";
    this.#complain("");
    this.#pop.hide();
  }

  #begin(command, values = {}) {
    this.#field.value = "";
    this.#slots.replaceChildren(el("span", { class: "cmd" }, `/${command.shown}`));
    this.#draft = new Draft(command, values, this.#slots);
    this.#complain("");
    this.#field.placeholder = this.#draft.left.length ? say("options_left") : "";
    this.#focus(this.#draft.next() ?? this.#field);
  }

  #focus(field) {
    field.focus();
    const end = field.value?.length ?? 0;
    if (field.setSelectionRange && field.type !== "file") field.setSelectionRange(end, end);
    this.#suggest();
  }

  #complain(sentence, slot = null) {
    this.#wrong.textContent = sentence;
    for (const box of this.#slots.querySelectorAll(".slot.bad")) box.classList.remove("bad");
    slot?.box.classList.add("bad");
    if (slot) this.#focus(slot.field);
  }

  #input({ target }) {
    if (!target.matches("textarea, input[type=file]") || target.id === "picker") return;
    this.#complain("");
    const slot = this.#draft?.slotOf(target);
    if (slot) this.#draft.read(slot);
    else if (!this.#draft && /^\/.*\s/s.test(target.value)) this.#enter(target.value);
    this.#count();
    this.#suggest();
  }

  /** "/imagine " becomes the command with its slots; longer names ("/gallery show") wait for their end. */
  #enter(text) {
    const found = commandIn(this.#commands, text);
    if (!found || !/^\s/.test(text.slice(text.length - found.rest.length - 1))) return;
    this.#begin(found.command, split(found.command, found.rest));
  }

  #count() {
    const n = [...this.#field.value].length;
    if (n > NEAR) this.#complain(n > LONGEST ? say("too_long_message", { n, max: LONGEST }) : say("characters", { n, max: LONGEST }));
  }

  #suggest() {
    const at = document.activeElement;
    if (!this.#form.contains(at) || !at.matches("textarea")) return this.#pop.hide();
    const slot = this.#draft?.slotOf(at);
    if (slot) return this.#suggestValues(slot);
    if (this.#draft) return this.#suggestOptions();
    return /^\/[^\n]*$/.test(at.value) ? this.#suggestCommands(at.value.slice(1)) : this.#pop.hide();
  }

  #suggestCommands(typed) {
    const all = this.#commands;
    const found = suggest(all, typed);
    const items = found.map((c) => ({ title: `/${c.shown}`, note: c.description, print: c.options.slice(0, 4).map((o) => (o.required ? o.shown : `[${o.shown}]`)).join(" "), command: c }));
    const hint = all.length ? (found.length ? say("commands") : say("no_command")) : say("no_commands");
    this.#pop.show({ field: this.#field, label: say("commands"), hint, help: say("tab_enter"), items, chosen: 0, take: (item) => this.#begin(item.command) });
  }

  #suggestOptions() {
    const { command, left } = this.#draft;
    const text = this.#field.value.trim().toLowerCase();
    const found = left.filter((o) => o.shown.toLowerCase().startsWith(text) || o.name.startsWith(text));
    const items = found.map((o) => ({ title: o.shown, note: o.description, print: takes(o), option: o }));
    const hint = `/${command.shown}: ${left.length ? say("options_left") : say("no_options")}`;
    this.#pop.show({ field: this.#field, label: hint, hint, help: left.length ? say("tab") : "", items, chosen: text ? 0 : -1, take: (item) => this.#takeOption(item.option) });
  }

  #takeOption(option) {
    this.#field.value = "";
    this.#focus(this.#draft.slotFor(option).field);
  }

  #suggestValues(slot) {
    const { option } = slot;
    const own = ownValues(option, this.store.context());
    const typed = slot.value === undefined ? slot.text : "";
    if (own) return this.#showValues(slot, matching(own, typed), typed ? 0 : -1);
    this.#showValues(slot, slot.offered ?? [], -1, option.autocomplete && !slot.offered ? say("loading") : null);
    return option.autocomplete && slot.value === undefined ? this.#ask(slot) : undefined;
  }

  #showValues(slot, values, chosen = -1, news = null) {
    const { option } = slot;
    const hint = [el("b", {}, option.shown), ` ${option.description ?? ""}`];
    const help = news ?? `${takes(option)} · ${say(option.required ? "required" : "optional")}`;
    const items = values.slice(0, 25).map((v) => ({ title: v.label, value: v }));
    this.#pop.show({ field: slot.field, label: `${option.shown}: ${say("values")}`, hint, help, items, chosen, take: (item) => this.#takeValue(slot, item.value) });
  }

  #takeValue(slot, value) {
    this.#draft.choose(slot, value);
    this.#focus(this.#draft.next() ?? this.#field);
  }

  /** Asks the bot for values; only the newest answer counts. */
  async #ask(slot) {
    const turn = ++this.#asked;
    await new Promise((done) => setTimeout(done, PAUSE));
    if (turn !== this.#asked || !this.#draft?.slots.includes(slot)) return;
    const { option } = slot;
    const options = this.#typed();
    options[option.name] = slot.text;
    try {
      const answer = await api.autocomplete({ as: this.store.as, channel_id: this.store.channelId, name: this.#draft.command.name, options, focused: option.name });
      if (turn !== this.#asked || document.activeElement !== slot.field) return;
      slot.offered = (answer.choices ?? []).map((c) => ({ value: c.value, label: c.name }));
      this.#showValues(slot, slot.offered, -1, slot.offered.length ? null : say("no_values"));
    } catch {
      // No suggestions is no harm: the value can be typed.
    }
  }

  #typed() {
    const ctx = this.store.context();
    const good = this.#draft.slots.map((s) => [s.option.name, check(s.option, s, ctx).value]);
    return Object.fromEntries(good.filter(([, v]) => v !== undefined));
  }

  #key(e) {
    if (e.isComposing || e.target.matches("input, button")) return;
    const { key } = e;
    if (this.#pop.key(e)) return;
    if (key === "Tab" && !e.shiftKey) this.#tab(e);
    else if (key === "Enter" && !e.shiftKey) {
      e.preventDefault();
      if (!this.#pop.take()) this.submit();
    } else if (key === "Escape") this.#escape(e);
    else if (key === "Backspace" && !e.target.value) this.#back(e);
  }

  #tab(e) {
    const typed = e.target === this.#field && this.#field.value.trim();
    if (this.#pop.chosen < 0 && !(typed && this.#pop.size)) return;
    e.preventDefault();
    this.#pop.take(Math.max(0, this.#pop.chosen));
  }

  #escape(e) {
    if (this.#pop.size) this.#pop.hide();
    else if (this.#draft) this.#leave("");
    else if (this.#reply) this.replyTo(null);
    else return;
    e.preventDefault();
    e.stopPropagation();
    this.#field.focus({ preventScroll: true });
  }

  #back(e) {
    if (!this.#draft) return;
    e.preventDefault();
    const slot = this.#draft.slotOf(e.target);
    if (!slot) this.#focus(this.#draft.slots.at(-1)?.field ?? this.#field);
    else if (!slot.option.required) this.#draft.remove(slot);
    else if (this.#draft.empty) {
      this.#leave(`/${this.#draft.command.shown}`);
      this.#focus(this.#field);
    }
  }

  #paste(e) {
    const files = [...(e.clipboardData?.files ?? [])];
    if (!files.length || this.#draft) return;
    e.preventDefault();
    this.#addFiles(files);
  }

  #addFiles(files) {
    this.#files = [...this.#files, ...files].slice(0, 10);
    byId("picker").value = "";
    this.#drawFiles();
    this.#field.focus();
  }

  #drawFiles() {
    const chip = (text, drop) => {
      const button = el("button", { class: "drop", type: "button", "aria-label": `${say("remove")} ${text}` }, "×");
      button.addEventListener("click", drop);
      return el("li", { class: "slot" }, el("span", {}, text), button);
    };
    const files = this.#files.map((file) => chip(file.name, () => {
      this.#files = this.#files.filter((f) => f !== file);
      this.#drawFiles();
    }));
    const reply = this.#reply && chip(`${say("replied")} ${nameOf(this.#reply.author)}`, () => this.replyTo(null));
    byId("files").replaceChildren(...(reply ? [reply] : []), ...files);
  }

  async submit() {
    if (this.#busy || this.#field.disabled) return;
    const text = this.#field.value;
    if (!this.#draft && text.startsWith("/")) {
      const found = commandIn(this.#commands, text.trim());
      if (!found) return this.#complain(say("no_command"));
      this.#begin(found.command, split(found.command, found.rest));
    }
    await this.#while(() => (this.#draft ? this.#sendCommand() : this.#sendMessage(text)));
  }

  async #while(send) {
    this.#busy = true;
    this.#form.setAttribute("aria-busy", "true");
    try {
      await send();
    } catch (error) {
      this.#complain(sentence(error));
    } finally {
      this.#busy = false;
      this.#form.removeAttribute("aria-busy");
    }
  }

  async #sendCommand() {
    const draft = this.#draft;
    const ctx = this.store.context();
    const options = {};
    for (const slot of draft.slots) {
      const { value, wrong } = check(slot.option, slot, ctx);
      if (wrong) return this.#complain(wrong, slot);
      if (value !== undefined) options[slot.option.name] = slot.file ? await this.#upload(slot.file) : value;
    }
    const at = { as: this.store.as, channel_id: this.store.channelId };
    await api.slash({ ...at, name: draft.command.name, options });
    this.#sent(draft);
  }

  async #upload(file) {
    return (await api.upload(this.store.as, [file]))[0].upload_id;
  }

  async #sendMessage(text) {
    if (!text.trim() && !this.#files.length) return;
    if ([...text].length > LONGEST) return this.#count();
    const at = { as: this.store.as, channel_id: this.store.channelId };
    const uploads = this.#files.length ? await api.upload(at.as, this.#files) : [];
    const reply = this.#reply ? { reply_to: this.#reply.id } : {};
    await api.message({ ...at, content: text.trim(), files: uploads.map((u) => u.upload_id), ...reply });
    this.#files = [];
    this.#reply = null;
    this.#drawFiles();
    this.#sent(null);
  }

  #sent(draft) {
    // The member may have been switched meanwhile: another draft is not ours to clear.
    if (this.#draft === draft) this.#leave("");
    this.#field.focus();
    this.store.tell("sent");
  }
}
