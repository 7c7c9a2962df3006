// Forms the bot opens. The browser's own checks hold their limits; the words in them are the bot's.
import { api, sentence } from "./api.js";
import { choices } from "./components.js";
import { byId, el } from "./dom.js";
import { markdown } from "./markdown.js";
import { say } from "./words.js";

const PARAGRAPH = 2;
const idOf = (c) => `field-${c.custom_id}`;

function textInput(c) {
  const props = { class: "field", id: idOf(c), name: c.custom_id, required: c.required !== false, minlength: c.min_length, maxlength: c.max_length ?? 4000, placeholder: c.placeholder };
  const node = c.style === PARAGRAPH ? el("textarea", { ...props, rows: 4 }, c.value ?? "") : el("input", { ...props, type: "text", value: c.value });
  return { node, read: () => node.value };
}

function single(c, ctx) {
  const offered = choices(c, ctx);
  const first = el("option", { value: "" }, c.placeholder ?? say("choose"));
  const node = el("select", { class: "field", id: idOf(c), required: c.required !== false }, first, offered.map((o) => el("option", { value: o.value, selected: Boolean(o.default) }, o.label)));
  return { node, read: () => (node.value ? [node.value] : []) };
}

function ticks(c, offered, type) {
  const one = (o) => el("label", { class: "radio" }, el("input", { type, name: c.custom_id, value: o.value, checked: Boolean(o.default), required: type === "radio" && c.required !== false }), el("span", {}, o.label, o.description && el("span", { class: "meta" }, o.description)));
  const node = el("div", { class: "ticks", id: idOf(c), role: type === "radio" ? "radiogroup" : "group" }, offered.map(one));
  const chosen = () => [...node.querySelectorAll("input:checked")].map((i) => i.value);
  const least = c.min_values ?? (c.required === false ? 0 : 1);
  const most = c.max_values ?? offered.length;
  const wrong = () => type === "checkbox" && (chosen().length < least || chosen().length > most) && say("choices_between", { a: least, b: most });
  return { node, wrong, read: () => (type === "radio" ? (chosen()[0] ?? null) : chosen()) };
}

function upload(c, as) {
  const most = c.max_values ?? 1;
  const node = el("input", { class: "field", type: "file", id: idOf(c), multiple: most > 1, required: c.required !== false });
  const wrong = () => node.files.length > most && say("files_fit", { a: c.min_values ?? 1, b: most });
  const read = async () => (node.files.length ? (await api.upload(as, node.files)).map((u) => u.upload_id) : []);
  return { node, wrong, read };
}

function checkbox(c) {
  const input = el("input", { type: "checkbox", id: idOf(c), checked: Boolean(c.default) });
  return { node: input, read: () => input.checked };
}

function control(c, ctx) {
  if (c.type === 4) return textInput(c);
  if (c.type === 19) return upload(c, ctx.me);
  if (c.type === 21) return ticks(c, c.options ?? [], "radio");
  if (c.type === 22) return ticks(c, c.options ?? [], "checkbox");
  if (c.type === 23) return checkbox(c);
  return (c.max_values ?? 1) > 1 ? ticks(c, choices(c, ctx), "checkbox") : single(c, ctx);
}

function labelled({ label, description, component }, fields, ctx) {
  const part = { custom: component.custom_id, ...control(component, ctx) };
  fields.push(part);
  const many = part.node.matches("div");
  const note = description && el("p", { class: "meta", id: `${idOf(component)}-note` }, description);
  if (note) part.node.setAttribute("aria-describedby", note.id);
  if (many) part.node.setAttribute("aria-label", label ?? component.custom_id);
  const name = many ? el("p", { class: "label" }, label) : el("label", { class: "label", for: part.node.id }, label);
  return el("div", { class: "ask" }, name, note, part.node);
}

function part(c, fields, ctx) {
  if (c.type === 18) return labelled(c, fields, ctx);
  if (c.type === 1) return c.components.map((kid) => labelled({ label: kid.label, component: kid }, fields, ctx));
  return el("div", { class: "text" }, markdown(c.content ?? "", ctx));
}

export function openModal(interaction, store) {
  const box = byId("modal");
  const { title, components } = interaction.modal;
  const fields = [];
  const wrong = el("p", { class: "wrong", role: "alert" });
  const shut = el("button", { class: "btn", type: "button" }, say("cancel"));
  const go = el("button", { class: "btn main" }, say("submit"));
  const parts = components.map((c) => part(c, fields, store.context()));
  const form = el("form", {}, el("h2", { id: "modal-title" }, title), parts, wrong, el("div", { class: "end" }, shut, go));
  shut.addEventListener("click", () => box.close());
  form.addEventListener("submit", (e) => {
    e.preventDefault();
    submit({ interaction, fields, wrong, go, box, as: store.as });
  });
  box.replaceChildren(form);
  if (!box.open) box.showModal();
  form.querySelector("input, textarea, select")?.focus();
}

/** What was typed stays until the bot took it. */
async function submit({ interaction, fields, wrong, go, box, as }) {
  wrong.textContent = fields.map((f) => f.wrong?.()).find(Boolean) ?? "";
  if (wrong.textContent) return;
  go.disabled = true;
  try {
    const values = {};
    for (const field of fields) values[field.custom] = await field.read();
    const answer = await api.modal({ as, interaction_id: interaction.id, values });
    if (answer.state === "failed") wrong.textContent = say("failed");
    else box.close();
  } catch (error) {
    wrong.textContent = sentence(error);
  } finally {
    go.disabled = false;
  }
}
