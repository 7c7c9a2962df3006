// How near a message is to what Discord takes.
import { el } from "./dom.js";
import { say } from "./words.js";

const V2 = 32768;
const MOST = { parts: 40, text: 4000, content: 2000, embeds: 6000 };

const kids = (c) => [...(c.components ?? []), ...(c.accessory ? [c.accessory] : []), ...(c.component ? [c.component] : [])];

/** All components, nested ones too: what Discord counts against 40. */
export function count(components) {
  return components.reduce((n, c) => n + 1 + count(kids(c)), 0);
}

export function characters(components) {
  return components.reduce((n, c) => n + (c.type === 10 ? [...c.content].length : 0) + characters(kids(c)), 0);
}

function embedText(e) {
  const parts = [e.title, e.description, e.footer?.text, e.author?.name, ...(e.fields ?? []).flatMap((f) => [f.name, f.value])];
  return parts.reduce((n, part) => n + [...(part ?? "")].length, 0);
}

/** What to print under a message: [count, most, words] each. */
export function measures(m) {
  if (m.flags & V2) return [[count(m.components), MOST.parts, "parts"], [characters(m.components), MOST.text, "characters"]];
  const out = [[[...(m.content ?? "")].length, MOST.content, "characters"]];
  if (m.components?.length) out.unshift([count(m.components), MOST.parts, "parts"]);
  if (m.embeds?.length) out.push([m.embeds.reduce((n, e) => n + embedText(e), 0), MOST.embeds, "characters"]);
  return out;
}

export function limitsLine(m) {
  const each = measures(m).map(([n, max, key]) => el("span", { class: n > max ? "over" : null }, say(key, { n, max })));
  return el("p", { class: "edgeprint limits" }, each.flatMap((node, i) => (i ? [" · ", node] : [node])));
}
