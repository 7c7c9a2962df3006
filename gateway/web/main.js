// The studio: asks the host what is, keeps asking, and draws it.
import { Refused, api } from "./api.js";
import { showWanted, startDetail } from "./detail.js";
import { byId, keep, show, text } from "./dom.js";
import { closeSheet, drawForm, sendKept, startForm, take } from "./form.js";
import { drawSheet, startSheet } from "./sheet.js";
import { drawSide } from "./side.js";
import { drawTrays, take as takeView, tick } from "./trays.js";
import { ENDED, all, changed, onChange, prune, state } from "./store.js";
import { duration, say } from "./words.js";

const BUSY = 2000;
const IDLE = 8000;
const HIDDEN = 30_000;
let timer;

// ---- asking -----------------------------------------------------------------------------------------------------

async function look() {
  clearTimeout(timer);
  try {
    const [{ jobs }, status, models] = await Promise.all([api.jobs(), api.status(), api.models()]);
    for (const view of jobs) takeView(view);
    prune(jobs);
    Object.assign(state, { status, models, loaded: true, heard: performance.now(), silent: false });
    sendKept();
  } catch (error) {
    if (!(error instanceof Refused)) throw error;
    if (error.status === 401) return askForKey();
    state.silent = true;
  } finally {
    changed();
    drawBanner();
    again();
  }
}

function again() {
  clearTimeout(timer);
  if (byId("door").open) return;
  const busy = state.silent || all().some((one) => !ENDED.has(one.status));
  timer = setTimeout(look, document.hidden ? HIDDEN : busy ? BUSY : IDLE);
}

function drawBanner() {
  const banner = byId("banner");
  show(banner, state.silent);
  if (!state.silent) return;
  const ago = state.heard ? duration(Math.max(10, (performance.now() - state.heard) / 1000)) : "…";
  text(banner, navigator.onLine ? say("page.stale", { t: ago }) : say("page.offline"));
}

function drawTitle() {
  const running = all().find((one) => one.status === "running" && one.progress);
  const done = running ? `${running.progress.step}/${running.progress.total_steps} · ` : "";
  const title = done + say("page.title");
  if (document.title !== title) document.title = title;
}

// ---- the door ---------------------------------------------------------------------------------------------------

function askForKey() {
  if (!byId("door").open) byId("door").showModal();
}

function startDoor() {
  byId("door").addEventListener("cancel", (event) => event.preventDefault());
  byId("sign-in").addEventListener("submit", async (event) => {
    event.preventDefault();
    const line = byId("key-refused");
    show(line, false);
    try {
      await api.signIn(byId("key").value.trim());
    } catch (error) {
      text(line, error.message || say("page.load_failed"));
      show(line, true);
      return;
    }
    byId("key").value = "";
    byId("door").close();
    look();
  });
  for (const button of document.querySelectorAll("[data-sign-out]")) {
    button.addEventListener("click", async () => {
      await api.signOut().catch(() => {});
      keep.set("pending", null);
      location.reload();
    });
  }
}

// ---- theme, keys, places ----------------------------------------------------------------------------------------

function startTheme() {
  const root = document.documentElement;
  const light = () => getComputedStyle(root).colorScheme === "light";
  const name = () => {
    for (const button of document.querySelectorAll("[data-theme-toggle]")) text(button, say(light() ? "page.theme_dark" : "page.theme"));
    document.querySelector('meta[name="theme-color"]').content = getComputedStyle(root).getPropertyValue("--room").trim();
  };
  for (const button of document.querySelectorAll("[data-theme-toggle]")) {
    button.addEventListener("click", () => {
      root.dataset.theme = light() ? "dark" : "light";
      try {
        localStorage.setItem("darkroom.theme", root.dataset.theme);
      } catch {
        // until the next reload, then
      }
      name();
    });
  }
  matchMedia("(prefers-color-scheme: light)").addEventListener("change", name);
  name();
}

const typing = (node) => node.closest?.("input, textarea, select, [contenteditable]");

function onKey(event) {
  if ((event.ctrlKey || event.metaKey) && event.key === "Enter") {
    if (!document.querySelector("dialog[open]")) take(event);
    return;
  }
  if (event.key === "Escape") return closeSheet();
  if (event.ctrlKey || event.metaKey || event.altKey || typing(event.target) || document.querySelector("dialog[open]")) return;
  if (keep.get("single-keys") === false) return;
  if (event.key === "/") {
    event.preventDefault();
    byId("prompt").focus();
  } else if (event.key === "?") {
    byId("shortcuts").showModal();
  }
}

function startKeys() {
  addEventListener("keydown", onKey);
  const single = byId("single-keys");
  single.checked = keep.get("single-keys") !== false;
  single.addEventListener("change", () => keep.set("single-keys", single.checked));
  for (const button of document.querySelectorAll("[data-shortcuts]")) button.addEventListener("click", () => byId("shortcuts").showModal());
}

/** Rail and tabs lead to places on this one page; the address stays for photos. */
function startPlaces() {
  const links = [...document.querySelectorAll("[data-goto]")];
  for (const link of links) {
    link.addEventListener("click", (event) => {
      event.preventDefault();
      closeSheet();
      const name = link.getAttribute("href").slice(1);
      const calm = matchMedia("(prefers-reduced-motion: reduce)").matches;
      if (name === "studio") scrollTo({ top: 0, behavior: calm ? "auto" : "smooth" });
      else byId(name).scrollIntoView({ behavior: calm ? "auto" : "smooth", block: "start" });
      for (const other of links) {
        if (other.getAttribute("href") === link.getAttribute("href")) other.setAttribute("aria-current", "true");
        else other.removeAttribute("aria-current");
      }
    });
  }
}

onChange(drawForm);
onChange(drawTrays);
onChange(drawSheet);
onChange(drawSide);
onChange(drawTitle);
startForm();
startSheet();
startDetail();
startDoor();
startTheme();
startKeys();
startPlaces();
changed();
setInterval(tick, 1000);
document.addEventListener("visibilitychange", () => document.hidden || look());
addEventListener("online", look);
addEventListener("offline", () => {
  state.silent = true;
  drawBanner();
  changed();
});
await look();
showWanted();
