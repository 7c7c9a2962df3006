// The older cards of Discord: a bar, a title, fields, pictures, a foot.
import { hex } from "./components.js";
import { el, link } from "./dom.js";
import { inline, markdown } from "./markdown.js";
import { figure } from "./media.js";
import { day } from "./time.js";

function field(f, ctx) {
  return el("div", { class: f.inline ? "field-md inline" : "field-md" }, el("p", { class: "strong" }, inline(f.name, ctx)), el("div", { class: "text" }, markdown(f.value, ctx)));
}

function foot(e) {
  const parts = [e.footer?.text, e.timestamp && day(Date.parse(e.timestamp))].filter(Boolean);
  return parts.length > 0 && el("p", { class: "sub" }, parts.join(" · "));
}

export function embed(e, ctx) {
  const title = e.title && el("p", { class: "title" }, e.url ? link(e.url, inline(e.title, ctx)) : inline(e.title, ctx));
  const author = e.author?.name && el("p", { class: "strong" }, e.author.url ? link(e.author.url, e.author.name) : e.author.name);
  const body = el("div", { class: "texts" }, author, title, e.description && el("div", { class: "text" }, markdown(e.description, ctx)));
  const thumb = e.thumbnail?.url && el("div", { class: "accessory thumb" }, figure(e.thumbnail));
  const coloured = Boolean(e.color);
  return el(
    "div",
    { class: coloured ? "container embed accent" : "container embed", css: coloured ? { "--accent": hex(e.color) } : {} },
    el("div", { class: "section" }, body, thumb),
    e.fields?.length > 0 && el("div", { class: "fields" }, e.fields.map((f) => field(f, ctx))),
    e.image?.url && el("div", { class: "gallery g1" }, figure(e.image)),
    foot(e),
  );
}
