// The two trays and the rows under them: what is being made, what waits, and what just came out.
import { api, follow } from "./api.js";
import { byId, el, show, text } from "./dom.js";
import { askAgain } from "./form.js";
import { tell, toast } from "./speak.js";
import { ACTIVE, ENDED, all, changed, job, learn, state, waiting } from "./store.js";
import { clock, duration, say, took } from "./words.js";

const PREVIEW_EVERY = 500;
/** What each tray shows: a job's id, kept until a newer job needs the place, so that a picture stays where it developed. */
const places = [null, null];
const cards = new Map();
const sockets = new Map();

/** What changes by itself is watched: jobs in the trays each have a socket, so that every step shows. */
function watch() {
  for (const id of places) {
    const one = id && job(id);
    if (one && !ENDED.has(one.status) && !sockets.has(id)) sockets.set(id, follow(id, take, () => {}));
  }
  for (const [id, letGo] of sockets) {
    if (places.includes(id) && !ENDED.has(job(id)?.status)) continue;
    letGo();
    sockets.delete(id);
  }
}

/** A view from anywhere: learnt, told aloud, drawn. */
export function take(view) {
  const before = job(view.id);
  if (!learn(view)) return;
  if (before) tell(before, view);
  changed();
}

function assign() {
  const unfinished = [...all().filter((one) => ACTIVE.has(one.status)).reverse(), ...waiting()];
  const wanted = unfinished.slice(0, 2).map((one) => one.id);
  const missing = wanted.filter((id) => !places.includes(id));
  places.forEach((id, at) => {
    if (id && !job(id)) places[at] = null;
  });
  for (const id of missing) {
    const free = places.findIndex((held) => held === null || (ENDED.has(job(held).status) && !wanted.includes(held)));
    const given = free >= 0 ? free : places.findIndex((held) => !wanted.includes(held));
    if (given >= 0) places[given] = id;
  }
}

// ---- one card ---------------------------------------------------------------------------------------------------

function build(id) {
  const image = el("img", { alt: "", width: 1, height: 1 });
  const parts = {
    image,
    figure: el("figure", { class: "develop", hidden: true }, image),
    blankTime: el("div", { class: "timer" }),
    state: el("p", { class: "state", id: `state-${id}` }, el("span")),
    timer: el("span", { class: "timer" }),
    bar: el("i"),
    why: el("p", { class: "meta why" }),
    what: el("p", { class: "what" }),
    print: el("span", { class: "edgeprint" }),
    button: el("button", { class: "btn", type: "button" }),
  };
  parts.blank = el("div", { class: "blank" }, parts.blankTime);
  parts.meter = el("div", { class: "meter", role: "progressbar", "aria-valuemin": 0 }, parts.bar);
  parts.box = el("div", { class: "box" }, parts.blank, parts.figure);
  parts.root = el(
    "article", { class: "tray", data: { job: id }, "aria-labelledby": `state-${id}` },
    parts.box, el("div", { class: "top" }, parts.state, parts.timer), parts.meter,
    el("div", { class: "text" }, parts.why, parts.what),
    el("div", { class: "foot" }, parts.print, parts.button),
  );
  parts.button.addEventListener("click", () => press(id));
  parts.figure.addEventListener("click", () => job(id)?.status === "done" && (location.hash = `photo-${id}`));
  return parts;
}

async function press(id) {
  const one = job(id);
  if (one.status === "done") {
    location.hash = `photo-${id}`;
  } else if (ENDED.has(one.status)) {
    askAgain(one.request);
  } else {
    try {
      take(await api.cancel(id));
    } catch (error) {
      toast(error.message || say("page.load_failed"));
    }
  }
}

function words(one) {
  if (one.status === "running" && one.progress) {
    const { step, total_steps } = one.progress;
    return step >= total_steps ? say("run.finishing") : say("run.step", { n: step, total: total_steps });
  }
  if (one.status === "queued" && one.position) return say("queue.position", { n: one.position });
  if (one.status === "done" && one.made) return say("page.made_in", { t: took(one.made.seconds) });
  return say(`state.${one.status}`);
}

function why(one) {
  if (one.cancel_requested) return say("page.stopping");
  if (one.error) return one.error.message;
  if (one.why?.code === "again") return say("page.again");
  const cause = one.why && one.why.code !== "next" ? say(`why.${one.why.code}`, one.why.details) : one.why ? say("why.next") : "";
  return [cause, one.status === "queued" ? ready(one) : ""].filter(Boolean).join(" ");
}

/** When a waiting job will be ready, as people say it; nothing while nobody could make it. */
function ready(one) {
  if (["offline", "resting", "no_worker", "no_lora"].includes(one.why?.code)) return "";
  if (!one.eta) return say("eta.unknown");
  const { low, high } = one.eta;
  const middle = (low + high) / 2;
  if (middle < 10) return say("page.ready_soon");
  const [a, b] = [duration(Math.max(10, low)), duration(high)];
  return high > 1.6 * low && a !== b ? say("eta.range", { a, b }) : say("eta.about", { t: duration(middle) });
}

/** Seconds still to go: what the host said, less what passed since. Null while nobody knows. */
function left(one) {
  const told = one.progress ? one.progress.eta : one.eta && (one.eta.low + one.eta.high) / 2;
  return told === null || told === undefined ? null : told - (performance.now() - one.received) / 1000;
}

/** What the edge of the film says: model, GPU and company, or the time so far. */
function edge(one) {
  const parts = [one.request.model, `${one.request.width}×${one.request.height}`];
  if (one.progress) parts.push(say("page.elapsed", { t: took(one.progress.elapsed + (performance.now() - one.received) / 1000) }));
  if (one.worker) parts.push(one.worker);
  if (one.made?.shared_with) parts.push(say("run.shared", { n: one.made.shared_with }));
  return parts.join(" · ");
}

function draw(card, one) {
  const running = ACTIVE.has(one.status);
  card.root.className = `tray ${one.status}${one.status === "queued" ? " small" : ""}`;
  card.state.className = `state ${one.status}`;
  text(card.state.firstChild, words(one));
  text(card.why, why(one));
  show(card.why, card.why.textContent !== "");
  text(card.what, one.request.prompt);
  drawTime(card, one);
  drawMeter(card, one, running);
  drawButton(card, one);
  card.box.style.setProperty("--w", one.request.width);
  card.box.style.setProperty("--h", one.request.height);
  develop(card, one);
}

function drawTime(card, one) {
  const seconds = left(one);
  const late = seconds !== null && seconds < -10;
  const shown = late ? say("eta.late") : seconds === null ? "" : clock(seconds);
  card.timer.classList.toggle("late", late);
  text(card.timer, ACTIVE.has(one.status) ? shown : "");
  if (ACTIVE.has(one.status) && seconds !== null && !late) card.timer.setAttribute("aria-label", say("page.left", { t: duration(seconds) }));
  else card.timer.removeAttribute("aria-label");
  text(card.blankTime, one.status === "queued" && !late && seconds !== null ? outlook(one, seconds) : "");
  text(card.print, edge(one));
}

/** A range only where the two ends differ enough to mean something; no figures for a moment. */
function outlook(one, seconds) {
  const { low, high } = one.eta;
  if (high < 10) return say("eta.soon");
  return high > 1.6 * low && high - low > 10 ? `~${clock(low)}–${clock(high)}` : `~${clock(seconds)}`;
}

function drawMeter(card, one, running) {
  card.meter.classList.toggle("still", !running);
  const { step = 0, total_steps = one.request.steps } = one.progress ?? {};
  card.meter.setAttribute("aria-label", one.request.prompt.slice(0, 80));
  card.meter.setAttribute("aria-valuemax", total_steps);
  card.meter.style.setProperty("--p", step / total_steps);
  if (one.progress) card.meter.setAttribute("aria-valuenow", step);
  else card.meter.removeAttribute("aria-valuenow");
  card.meter.setAttribute("aria-valuetext", words(one));
}

function drawButton(card, one) {
  const verb = one.status === "done" ? say("page.open") : ENDED.has(one.status) ? say(one.status === "cancelled" ? "verb.again" : "verb.retry") : say("verb.cancel");
  text(card.button, verb);
  card.button.disabled = one.cancel_requested;
  card.button.setAttribute("aria-describedby", card.state.id);
}

// ---- the picture comes up ---------------------------------------------------------------------------------------

function develop(card, one) {
  const progress = one.progress?.progress ?? 0;
  if (one.status === "done") return print(card, one);
  if (ENDED.has(one.status) || one.status === "queued") return unexpose(card);
  const url = one.progress?.preview;
  if (card.shown || url) card.figure.style.setProperty("--p", 0.9 * progress);
  if (!url || document.hidden || card.loading || performance.now() - (card.previewAt ?? -Infinity) < PREVIEW_EVERY) return;
  card.previewAt = performance.now();
  const alt = say("alt.preview", { n: one.progress.step, total: one.progress.total_steps });
  expose(card, one, url, `${alt} ${one.request.prompt}`);
}

function print(card, one) {
  const picture = one.pictures[0];
  if (!picture || card.printed || card.loading === picture.url) return;
  const { width: w, height: h } = picture;
  expose(card, one, picture.url, say("alt.picture", { prompt: one.request.prompt, w, h }), () => {
    card.printed = true;
    card.figure.style.setProperty("--p", 1);
    card.figure.classList.add("opens");
  });
}

/** Decoded before it is shown, so that nothing flickers; a newer one that came meanwhile wins. */
async function expose(card, one, url, alt, then = () => {}) {
  card.loading = url;
  const image = new Image();
  image.src = url;
  try {
    await image.decode();
  } catch {
    if (card.loading === url) card.loading = null;
    return; // gone or unreadable: the sheet stays as it is
  }
  if (card.loading !== url || card.printed) return;
  card.loading = null;
  Object.assign(card.image, { src: url, alt, width: one.request.width, height: one.request.height });
  card.shown = true;
  show(card.figure, true);
  show(card.blank, false);
  // Two frames: the new picture is painted as it was before it clears.
  requestAnimationFrame(() => requestAnimationFrame(then));
  if (document.hidden) then();
}

function unexpose(card) {
  card.loading = null;
  card.shown = false;
  card.printed = false;
  card.figure.style.setProperty("--p", 0);
  show(card.figure, false);
  show(card.blank, true);
}

// ---- all of it --------------------------------------------------------------------------------------------------

function emptyTray(words) {
  return el("article", { class: "tray free", data: { job: "" } }, el("div", { class: "box" }, el("p", {}, say("page.free"))), el("p", { class: "meta" }, say(words)));
}

function drawRows() {
  const more = waiting().filter((one) => !places.includes(one.id));
  const known = new Map([...byId("rows").children].map((row) => [row.dataset.job, row]));
  const rows = more.map((one) => {
    const row = known.get(one.id) ?? waitingRow(one.id);
    text(row.querySelector(".state span"), words(one));
    text(row.querySelector(".what"), one.request.prompt);
    text(row.querySelector(".meta"), why(one));
    row.querySelector("button").disabled = one.cancel_requested;
    return row;
  });
  sync(byId("rows"), rows);
}

function waitingRow(id) {
  const button = el("button", { class: "btn plain", type: "button" }, say("verb.cancel"));
  button.addEventListener("click", () => press(id));
  return el("li", { data: { job: id } }, el("p", { class: "state queued" }, el("span")), el("p", { class: "what" }), el("p", { class: "meta" }), button);
}

/** Makes a box hold these nodes in this order, moving only what has to move: focus and hover survive. */
export function sync(box, nodes) {
  const wanted = new Set(nodes);
  for (const child of [...box.children]) if (!wanted.has(child)) child.remove();
  nodes.forEach((node, at) => {
    if (box.children[at] !== node) box.insertBefore(node, box.children[at] ?? null);
  });
}

const empties = [emptyTray("page.free_words"), emptyTray("page.free_second")];

export function drawTrays() {
  assign();
  watch();
  const nodes = places.map((id, at) => {
    const one = id && job(id);
    if (!one) return empties[at];
    if (!cards.has(id)) cards.set(id, build(id));
    const card = cards.get(id);
    draw(card, one);
    return card.root;
  });
  for (const id of cards.keys()) if (!places.includes(id)) cards.delete(id);
  sync(byId("trays"), nodes);
  byId("trays").classList.toggle("frozen", state.silent);
  drawRows();
}

/** Once a second: what counts down. */
export function tick() {
  if (document.hidden || state.silent) return;
  for (const [id, card] of cards) {
    const one = job(id);
    if (one && !ENDED.has(one.status)) drawTime(card, one);
  }
}
