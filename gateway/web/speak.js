// What is said aloud and briefly shown. Rarely: a status, a quarter of the way, a place at most every 15 s; never each step.
import { byId, el, text } from "./dom.js";
import { say } from "./words.js";

const POSITION_EVERY = 15_000;
const told = new Map();

export const speak = (words) => text(byId("status"), words);
export const alarm = (words) => text(byId("alert"), words);

/** Says of a job what its listener needs, given the view before. */
export function tell(before, now) {
  if (before && before.status !== now.status) {
    if (now.status === "done") speak(say("page.spoken_done"));
    else if (now.error) alarm(`${say("fail.title")} ${now.error.message}`);
    else speak(say(`state.${now.status}`));
    return;
  }
  if (now.status === "running" && now.progress) tellQuarter(before, now);
  if (now.status === "queued" && now.position) tellPlace(now);
}

function tellQuarter(before, now) {
  const quarter = (view) => Math.floor((view?.progress?.progress ?? 0) * 4);
  if (quarter(now) > quarter(before) && quarter(now) < 4) speak(say("page.spoken_percent", { p: quarter(now) * 25 }));
}

function tellPlace(now) {
  const last = told.get(now.id) ?? { at: -Infinity, place: null };
  if (last.place === now.position || performance.now() - last.at < POSITION_EVERY) return;
  told.set(now.id, { at: performance.now(), place: now.position });
  if (last.place !== null) speak(say("queue.position", { n: now.position }));
}

/** A note that goes by itself after 6 s, stays while pointed at, and never stands in the way: two at most. */
export function toast(words) {
  const box = byId("toasts");
  const note = el("p", { class: "toast" }, words);
  box.append(note);
  while (box.children.length > 2) box.firstChild.remove();
  let timer = setTimeout(() => note.remove(), 6000);
  note.addEventListener("pointerenter", () => clearTimeout(timer));
  note.addEventListener("pointerleave", () => {
    timer = setTimeout(() => note.remove(), 2000);
  });
}
