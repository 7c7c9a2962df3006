// The composer: a wish, its options, and how it leaves. What was typed stays, whatever happens.
import { Refused, api, wishBody } from "./api.js";
import { byId, el, keep, show, text } from "./dom.js";
import { alarm, speak, toast } from "./speak.js";
import { changed, learn, state } from "./store.js";
import { say } from "./words.js";

const SHAPES = [["1:1", 1, "r11"], ["3:2", 1.5, "r32"], ["2:3", 2 / 3, "r23"], ["16:9", 16 / 9, "r169"], ["9:16", 9 / 16, "r916"]];
const SCALES = [["small", 0.5, "page.size_small"], ["usual", 1, "page.size_usual"], ["large", 2, "page.size_large"]];
const FIELDS = ["prompt", "negative", "steps", "guidance", "seed"];

const draft = { model: null, shape: "1:1", scale: "usual", exact: null, ...keep.get("draft") };
let sending = false;
let pending = keep.get("pending");

const model = () => state.models?.models.find((one) => one.name === draft.model) ?? null;
const fields = () => Object.fromEntries(FIELDS.map((name) => [name, byId(name).value]));

/** The size of a shape at a scale that this model takes: whole multiples, inside its limits. */
function fitted(offer, ratio, scale) {
  const side = Math.sqrt(offer.default_width * offer.default_height) * scale;
  const step = (x) => Math.round(x / offer.size_multiple) * offer.size_multiple;
  const within = (x) => Math.min(offer.side_max, Math.max(offer.side_min, step(x)));
  let width = within(side * Math.sqrt(ratio));
  let height = within(side / Math.sqrt(ratio));
  while (width * height > offer.max_pixels) {
    if (width >= height) width -= offer.size_multiple;
    else height -= offer.size_multiple;
  }
  return [width, height];
}

function size() {
  if (draft.exact) return draft.exact;
  const offer = model();
  if (!offer) return null;
  const ratio = SHAPES.find(([name]) => name === draft.shape)?.[1] ?? 1;
  return fitted(offer, ratio, SCALES.find(([name]) => name === draft.scale)?.[1] ?? 1);
}

function remember() {
  keep.set("draft", { ...draft, ...fields() });
}

function chips(box, name, choices, chosen, onChoose) {
  const wanted = JSON.stringify([choices, chosen]);
  if (box.dataset.drawn === wanted) return;
  const focused = box.contains(document.activeElement);
  box.dataset.drawn = wanted;
  box.replaceChildren(
    ...choices.map(([value, label, style]) => {
      const input = el("input", { type: "radio", name, value });
      input.checked = value === chosen;
      input.addEventListener("change", () => onChoose(value));
      return el("label", { class: `chip ${style}` }, input, el("span", {}, label));
    }),
  );
  if (focused) box.querySelector(":checked")?.focus();
}

function choose(key) {
  return (value) => {
    draft[key] = value;
    draft.exact = null;
    remember();
    draw();
  };
}

/** Scales that differ: a small model has no room for three. */
function scales(offer) {
  const ratio = SHAPES.find(([name]) => name === draft.shape)?.[1] ?? 1;
  const seen = new Set();
  return SCALES.filter(([, scale]) => {
    const key = fitted(offer, ratio, scale).join();
    return !seen.has(key) && seen.add(key);
  });
}

function drawModels() {
  const select = byId("model");
  const names = JSON.stringify(state.models.models.map((one) => [one.name, one.title, one.online]));
  if (select.dataset.drawn !== names) {
    select.dataset.drawn = names;
    select.replaceChildren(...state.models.models.map((one) => el("option", { value: one.name }, one.title)));
  }
  if (!model()) draft.model = state.models.default;
  select.value = draft.model;
}

function draw() {
  if (!state.models) return;
  drawModels();
  const offer = model();
  if (!offer) return;
  const loaded = offer.loaded_on ? say("page.model_loaded", { n: offer.loaded_on }) : say(offer.online ? "page.model_online" : "page.model_offline");
  text(byId("model-state"), loaded);
  chips(byId("shapes"), "shape", SHAPES.map(([name, , style]) => [name, name, style]), draft.exact ? null : draft.shape, choose("shape"));
  const room = scales(offer);
  show(byId("scale-set"), room.length > 1);
  chips(byId("scales"), "scale", room.map(([name, , key]) => [name, say(key), "n"]), draft.exact ? null : draft.scale, choose("scale"));
  text(byId("size"), size().join(" × "));
  byId("steps").placeholder = offer.default_steps;
  byId("guidance").placeholder = offer.default_guidance;
}

/** The wish as the API takes it, or a sentence about the field that cannot be meant. */
function wish() {
  const { prompt, negative, steps, guidance, seed } = Object.fromEntries(Object.entries(fields()).map(([k, v]) => [k, v.trim()]));
  const offer = model();
  if (steps && !/^\d{1,6}$/.test(steps)) throw new Refused(422, { field: "steps", message: say("error.invalid_steps", limits(offer)) });
  const number = guidance.replace(",", ".");
  if (number && !/^\d{1,3}(\.\d*)?$/.test(number)) throw new Refused(422, { field: "guidance", message: say("error.invalid_guidance", { max: offer?.guidance_max }) });
  if (seed && !/^\d{1,19}$/.test(seed)) throw new Refused(422, { field: "seed", message: say("error.invalid_seed") });
  const [width, height] = size() ?? [];
  return {
    prompt, width, height,
    ...(negative && { negative }), ...(draft.model && { model: draft.model }),
    ...(steps && { steps: Number(steps) }), ...(number && { guidance: Number(number) }), ...(seed && { seed: BigInt(seed).toString() }),
  };
}

const limits = (offer) => ({ min: offer?.steps_min, max: offer?.steps_max });

function complain(message, field) {
  const line = byId("refused");
  text(line, message);
  show(line, Boolean(message));
  for (const name of FIELDS) byId(name).toggleAttribute("aria-invalid", name === field);
  if (!message) return;
  alarm(message);
  if (FIELDS.includes(field)) byId(field).focus();
}

async function take(event) {
  event?.preventDefault();
  if (sending) return;
  complain("");
  try {
    // The key is made before the first try and kept with the wish: however often it is sent, one photo comes of it.
    await send({ body: wishBody(wish()), key: crypto.randomUUID?.() ?? `${Date.now()}-${Math.random().toString(36).slice(2)}` });
  } catch (error) {
    if (!(error instanceof Refused)) throw error;
    complain(error.message, error.field);
  }
}

async function send(letter) {
  sending = true;
  drawButton();
  try {
    const view = await api.submit(letter.body, letter.key);
    put(null);
    learn(view);
    changed();
    speak(say("page.spoken_sent"));
    closeSheet();
  } catch (error) {
    if (!(error instanceof Refused)) throw error;
    if (error.status === 0 || error.status >= 500) return put(letter);
    put(null);
    complain(error.message, error.field);
  } finally {
    sending = false;
    drawButton();
  }
}

function put(letter) {
  pending = letter;
  keep.set("pending", letter);
  changed();
}

/** Sends what could not leave; called whenever the host is heard again. */
export function sendKept() {
  if (pending && !sending && !state.silent) send(pending);
}

/** Asks once more for what a job asked for, as it asked for it. */
export function askAgain(request) {
  return send({ body: wishBody(request), key: crypto.randomUUID?.() ?? String(Math.random()) });
}

/** Fills the form with a job's settings, its exact size and seed included. */
export function useAgain(request) {
  Object.assign(draft, { model: request.model, exact: [request.width, request.height] });
  for (const name of FIELDS) byId(name).value = request[name] ?? "";
  if (request.negative) byId("more").open = true;
  remember();
  draw();
  byId("prompt").focus();
  toast(say("page.used_again"));
}

function drawButton() {
  const button = byId("take");
  button.toggleAttribute("aria-busy", sending);
  text(button.querySelector(".long"), say(sending ? "page.sending" : "verb.take"));
  text(button.querySelector(".short"), say(sending ? "page.sending" : "page.take_short"));
}

function drawOutlook() {
  const line = byId("outlook");
  if (pending) return text(line, say("page.kept_here"));
  if (!state.status?.queue) return text(line, "");
  if (!state.status.workers.length) return text(line, say("page.no_gpu"));
  const { people, yours } = state.status.queue;
  const others = people - (yours.length ? 1 : 0);
  text(line, others > 0 ? say("page.before_you", { n: others }) : say("page.nobody_before"));
}

export function openSheet() {
  byId("make").classList.add("open");
  for (const button of document.querySelectorAll("[data-sheet]")) button.setAttribute("aria-expanded", "true");
}

export function closeSheet() {
  byId("make").classList.remove("open");
  for (const button of document.querySelectorAll("[data-sheet]")) button.setAttribute("aria-expanded", "false");
}

export function drawForm() {
  draw();
  drawOutlook();
}

export function startForm() {
  for (const name of FIELDS) if (draft[name]) byId(name).value = draft[name];
  byId("make").addEventListener("submit", take);
  byId("make").addEventListener("input", () => {
    remember();
    complain("");
  });
  byId("model").addEventListener("change", (event) => {
    draft.model = event.target.value;
    draft.exact = null;
    remember();
    draw();
  });
  for (const button of document.querySelectorAll("[data-sheet]")) {
    button.addEventListener("click", () => (byId("make").classList.contains("open") ? closeSheet() : openSheet()));
  }
}

export { take };
