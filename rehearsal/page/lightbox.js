// A picture alone, as large as the window; ← → walk through the others of its message.
import { byId } from "./dom.js";
import { say } from "./words.js";

let all = [];
let at = 0;

function draw() {
  const from = all[at].querySelector("img");
  const img = byId("big");
  img.src = from.getAttribute("src");
  img.alt = from.alt;
  byId("caption").textContent = from.alt;
  byId("which").textContent = all.length > 1 ? say("picture_of", { n: at + 1, total: all.length }) : "";
  for (const id of ["before", "after"]) byId(id).hidden = all.length < 2;
}

function walk(by) {
  at = (at + by + all.length) % all.length;
  draw();
}

export function showPicture(button) {
  if (!button.querySelector("img") || button.closest(".broken")) return;
  all = [...button.closest(".msg").querySelectorAll("button.zoom")].filter((b) => b.querySelector("img") && !b.closest(".spoiler:not([data-shown])"));
  at = Math.max(0, all.indexOf(button));
  draw();
  byId("lightbox").showModal();
}

export function startLightbox() {
  const box = byId("lightbox");
  byId("before").addEventListener("click", () => walk(-1));
  byId("after").addEventListener("click", () => walk(1));
  box.addEventListener("click", (e) => (e.target === box || e.target.id === "big" || e.target.closest("[data-shuts]")) && box.close());
  box.addEventListener("keydown", (e) => {
    if (all.length > 1 && (e.key === "ArrowLeft" || e.key === "ArrowRight")) walk(e.key === "ArrowLeft" ? -1 : 1);
  });
}
