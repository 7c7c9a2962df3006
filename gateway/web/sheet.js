// The contact sheet: the last twelve, on black film. One tab stop; arrows walk, Enter opens.
import { byId, el, show, text } from "./dom.js";
import { sync } from "./trays.js";
import { ENDED, all, state } from "./store.js";
import { say, stamp } from "./words.js";

const FRAMES = 12;
const frames = new Map();
let current = null;
let held = null;

/** What belongs on the sheet: photos, and requests that ended without one; what somebody stopped is no news. */
export const printed = () => all().filter((one) => ENDED.has(one.status) && one.status !== "cancelled").slice(0, FRAMES);

function frame(one) {
  const picture = one.pictures[0];
  const alt = picture ? say("alt.picture", { prompt: one.request.prompt, w: picture.width, h: picture.height }) : `${say("fail.title")} ${one.request.prompt}`;
  const inside = picture
    ? el("img", { src: picture.url, alt, width: picture.width, height: picture.height, loading: "lazy", decoding: "async" })
    : el("span", { class: "none" }, el("span", { "aria-hidden": true }, "✕"), el("span", { class: "vh" }, alt));
  const link = el(
    "a", { class: "frame", href: `#photo-${one.id}`, data: { job: one.id }, tabindex: -1, title: one.request.prompt.slice(0, 200) },
    el("span", { class: "pic" }, inside),
    el("span", { class: "edgeprint", "aria-hidden": true }, `▸${String(one.request.seed).slice(-8)}`, el("b", {}, stamp(one.finished_at ?? one.created_at))),
  );
  link.querySelector("img")?.addEventListener("error", () => link.classList.add("gone"));
  link.addEventListener("focus", () => focusOn(one.id));
  return link;
}

function blanks(count) {
  return Array.from({ length: count }, () => el("span", { class: "frame blank-frame", "aria-hidden": true }, el("span", { class: "pic" }), el("span", { class: "edgeprint" }, "▸")));
}

function focusOn(id) {
  current = id;
  for (const [name, node] of frames) node.tabIndex = name === id ? 0 : -1;
}

function ids() {
  return [...byId("contact").querySelectorAll("a.frame")].map((node) => node.dataset.job);
}

function walk(event) {
  const list = ids();
  const at = list.indexOf(current);
  const columns = getComputedStyle(byId("contact")).gridTemplateColumns.split(" ").length;
  const step = { ArrowRight: 1, ArrowLeft: -1, ArrowDown: columns, ArrowUp: -columns, Home: -at, End: list.length - 1 - at }[event.key];
  if (step === undefined || at < 0 || event.ctrlKey || event.metaKey || event.altKey) return;
  const target = list[Math.min(list.length - 1, Math.max(0, at + step))];
  event.preventDefault();
  frames.get(target)?.focus();
}

/** While a frame has focus, news waits behind a chip: nothing moves under a hand. */
function held_back(wanted) {
  const busy = byId("contact").contains(document.activeElement);
  const shown = new Set(ids());
  const news = wanted.filter((one) => !shown.has(one.id));
  held = busy && shown.size && news.length ? wanted : null;
  show(byId("newer"), Boolean(held));
  if (held) text(byId("newer"), say("page.news", { n: news.length }));
  return Boolean(held);
}

export function drawSheet() {
  const wanted = printed();
  const photos = wanted.filter((one) => one.status === "done").length;
  const words = !state.loaded ? "" : photos ? say("page.history_count", { n: photos }) : wanted.length ? "" : say("page.history_empty");
  text(byId("history-meta"), words);
  if (!held_back(wanted)) lay(wanted);
}

function lay(wanted) {
  const box = byId("contact");
  if (!wanted.length) {
    if (box.querySelector("a") || box.children.length !== (state.loaded ? 3 : FRAMES)) box.replaceChildren(...blanks(state.loaded ? 3 : FRAMES));
    return;
  }
  for (const one of wanted) if (!frames.has(one.id)) frames.set(one.id, frame(one));
  sync(box, wanted.map((one) => frames.get(one.id)));
  const names = new Set(wanted.map((one) => one.id));
  for (const id of frames.keys()) if (!names.has(id)) frames.delete(id);
  if (!names.has(current)) focusOn(wanted[0].id);
}

export function startSheet() {
  byId("contact").addEventListener("keydown", walk);
  byId("newer").addEventListener("click", () => {
    if (held) lay(held);
    frames.get(ids()[0])?.focus();
    show(byId("newer"), false);
  });
}
