// Queue and GPUs: everybody's order without anybody's name, and who is there to do the work.
import { byId, el, show, text } from "./dom.js";
import { state } from "./store.js";
import { say } from "./words.js";

const MARKS = 40;

function drawLine(queue) {
  const box = byId("line");
  const drawn = JSON.stringify(queue);
  if (box.dataset.drawn === drawn) return;
  box.dataset.drawn = drawn;
  text(byId("queue-meta"), queue?.waiting ? say("page.waiting_count", { n: queue.waiting }) : "");
  if (!queue) {
    box.replaceChildren(...Array.from({ length: 5 }, () => el("li", { class: "mark hollow", "aria-hidden": true })));
    return text(byId("queue-words"), say("queue.unknown"));
  }
  const yours = new Set(queue.yours);
  const marks = Array.from({ length: Math.min(queue.waiting, MARKS) }, (_, at) => el("li", { class: yours.has(at + 1) ? "mark you" : "mark" }, String(at + 1)));
  if (queue.waiting > MARKS) marks.push(el("li", { class: "meta" }, `+${queue.waiting - MARKS}`));
  box.replaceChildren(...marks);
  box.setAttribute("aria-label", yours.size ? say("page.line_label", { yours: queue.yours.join(", ") }) : say("page.line_others"));
  text(byId("queue-words"), !queue.waiting ? say("queue.empty") : say(yours.size ? "page.yours_next" : "page.none_yours"));
}

function worker(one) {
  const squares = Array.from({ length: Math.min(one.places, 16) }, (_, at) => el("i", { class: at < one.yours ? "you" : at < one.busy ? "on" : "" }));
  const label = say("page.places", { busy: one.busy, total: one.places, yours: one.yours });
  const known = one.loaded.length ? one.loaded : one.models;
  return el(
    "div", { class: "gpu" },
    el("p", { class: `state ${one.yours ? "running" : "up"}` }, el("span", { class: "name" }, one.name), el("span", { class: "places", role: "img", "aria-label": label }, squares)),
    el("p", { class: "edgeprint" }, [one.device, known.join(", ")].filter(Boolean).join(" · ")),
  );
}

function drawWorkers(workers) {
  const box = byId("gpus");
  const drawn = JSON.stringify(workers);
  if (box.dataset.drawn === drawn) return;
  box.dataset.drawn = drawn;
  text(byId("gpus-meta"), workers.length ? say("page.gpus_online", { n: workers.length }) : "");
  box.replaceChildren(
    ...(workers.length ? workers.map(worker) : [el("p", { class: "state cancelled" }, el("span", {}, say("page.no_gpu"))), el("p", { class: "meta" }, say("page.no_gpu_how"))]),
  );
}

export function drawSide() {
  const { status } = state;
  if (!status) return;
  drawLine(status.queue);
  drawWorkers(status.workers);
  const there = status.workers.length;
  const lit = there > 0 && !state.silent;
  for (const lamp of document.querySelectorAll("[data-lamp]")) lamp.classList.toggle("out", !lit);
  const waiting = status.queue?.waiting ? `, ${say("page.waiting_count", { n: status.queue.waiting })}` : "";
  text(byId("summary"), (there ? say("page.summary", { n: there }) : say("page.no_gpu")) + waiting);
  byId("queue").classList.toggle("frozen", state.silent);
  for (const button of document.querySelectorAll("[data-sign-out]")) show(button, status.signed_in);
}
