// Short news at the foot of the list: at most two, six seconds, longer while pointed at or focused.
import { byId, el } from "./dom.js";
import { say } from "./words.js";

const STAYS = 6000;
const MOST = 2;

/** With `act`, a button that goes where it happened; who is in that `room` already needs no telling. */
export function toast(sentence, { act = null, room = "" } = {}) {
  const box = byId("toasts");
  const shut = el("button", { class: "drop", type: "button", "aria-label": say("close") }, "×");
  const go = act && el("button", { class: "btn small", type: "button" }, say("go"));
  const item = el("div", { class: "toast", data: { room } }, el("p", {}, sentence), go, shut);
  let timer;
  const leave = () => item.remove();
  const later = () => {
    clearTimeout(timer);
    timer = setTimeout(leave, STAYS);
  };
  for (const stay of ["pointerenter", "focusin"]) item.addEventListener(stay, () => clearTimeout(timer));
  for (const off of ["pointerleave", "focusout"]) item.addEventListener(off, later);
  shut.addEventListener("click", leave);
  go?.addEventListener("click", () => {
    leave();
    act();
  });
  box.append(item);
  while (box.children.length > MOST) box.firstElementChild.remove();
  later();
}

export function entered(room) {
  for (const item of document.querySelectorAll(".toast")) if (item.dataset.room === room) item.remove();
}
