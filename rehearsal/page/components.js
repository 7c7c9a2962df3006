// Message components, old rows and V2 alike, drawn from what was stored. What they do is in act.js.
import { el, link } from "./dom.js";
import { markdown } from "./markdown.js";
import { figure, fileRow, gallery } from "./media.js";
import { say } from "./words.js";

const STYLES = { 1: "btn main", 2: "btn", 3: "btn good", 4: "btn bad", 5: "btn", 6: "btn" };
export const hex = (colour) => `#${(colour & 0xffffff).toString(16).padStart(6, "0")}`;

function emoji(e) {
  if (!e) return null;
  return el("span", { class: "emoji" }, e.id ? `:${e.name}:` : e.name);
}

function button(c) {
  const kids = [emoji(c.emoji), c.label];
  if (c.style === 5) {
    const anchor = link(c.url, kids, el("span", { class: "away", "aria-hidden": "true" }, "↗"));
    anchor.className = c.disabled ? "btn off" : "btn";
    return anchor;
  }
  const data = { act: "press", custom: c.custom_id, type: 2, key: c.custom_id };
  const named = c.label ? null : c.emoji?.name;
  return el("button", { class: STYLES[c.style] ?? "btn", type: "button", disabled: Boolean(c.disabled), "aria-label": named, data }, kids);
}

const NAMED = { 5: "users", 6: "roles", 7: "both", 8: "channels" };

/** What a select offers: its own options, or the people, roles and channels its kind stands for. */
export function choices(c, ctx) {
  if (c.type === 3) return c.options ?? [];
  const defaults = new Set((c.default_values ?? []).map((d) => d.id));
  return ctx.named(NAMED[c.type], c.channel_types).map((o) => ({ ...o, default: defaults.has(o.value) }));
}

const optionText = (o) => [o.emoji?.id ? null : o.emoji?.name, o.label, o.description && `· ${o.description}`].filter(Boolean).join(" ");

function select(c, ctx) {
  const least = c.min_values ?? 1;
  const most = c.max_values ?? 1;
  if (most > 1 || least === 0) return manySelect(c, ctx, least, most);
  const placeholder = c.placeholder ?? say("choose");
  const offered = choices(c, ctx);
  const first = el("option", { value: "", disabled: true, hidden: true, selected: !offered.some((o) => o.default) }, placeholder);
  const options = offered.map((o) => el("option", { value: o.value, selected: Boolean(o.default) }, optionText(o)));
  const data = { act: "choose", custom: c.custom_id, type: c.type, key: c.custom_id };
  return el("select", { class: "field", disabled: Boolean(c.disabled), "aria-label": placeholder, data }, first, options);
}

function manySelect(c, ctx, least, most) {
  if (c.disabled) return el("button", { class: "field", type: "button", disabled: true }, c.placeholder ?? say("choose"));
  const offered = choices(c, ctx);
  const one = (o) => el("label", { class: "tick" }, el("input", { type: "checkbox", value: o.value, checked: Boolean(o.default) }), el("span", {}, optionText(o)));
  const data = { act: "choose-many", custom: c.custom_id, type: c.type };
  const hint = say("choices_between", { a: least, b: Math.min(most, offered.length) });
  const end = el("div", { class: "end" }, el("span", { class: "meta" }, hint), el("button", { class: "btn main", type: "button", data }, say("done")));
  return el("details", { class: "many", data: { least, most, key: c.custom_id } }, el("summary", { class: "field" }, c.placeholder ?? say("choose")), el("div", { class: "ticks" }, offered.map(one), end));
}

function section(c, ctx) {
  const texts = el("div", { class: "texts" }, c.components.map((kid) => component(kid, ctx)));
  return el("div", { class: "section" }, texts, c.accessory && el("div", { class: "accessory" }, component(c.accessory, ctx)));
}

function container(c, ctx) {
  const coloured = c.accent_color !== null && c.accent_color !== undefined;
  const kids = c.components.map((kid) => component(kid, ctx));
  const box = el("div", { class: coloured ? "container accent" : "container", css: coloured ? { "--accent": hex(c.accent_color) } : {} }, kids);
  if (!c.spoiler) return box;
  const cover = el("button", { class: "uncover", type: "button", data: { act: "uncover" } }, say("spoiler"));
  return el("div", { class: "pic spoiler wide" }, box, cover);
}

const DRAW = {
  1: (c, ctx) => el("div", { class: "actions" }, c.components.map((kid) => component(kid, ctx))),
  2: button,
  3: select, 5: select, 6: select, 7: select, 8: select,
  9: section,
  10: (c, ctx) => el("div", { class: "text" }, markdown(c.content, ctx)),
  11: (c) => el("div", { class: "thumb" }, figure(c.media ?? {}, { alt: c.description, spoiler: c.spoiler })),
  12: (c) => gallery(c.items ?? []),
  13: (c) => fileRow({ ...c.file, filename: c.name ?? c.file?.filename, size: c.size ?? c.file?.size }, { spoiler: c.spoiler }),
  14: (c) => el("hr", { class: `${c.divider === false ? "bare" : ""}${c.spacing === 2 ? " wide" : ""}` }),
  17: container,
};

export function component(c, ctx) {
  const draw = DRAW[c.type];
  return draw ? draw(c, ctx) : el("p", { class: "absent meta" }, say("part", { type: c.type }));
}
