// Clocks of the page: message times, day lines, and Discord's <t:…> stamps that count by themselves.
import { el } from "./dom.js";
import { lang } from "./words.js";

const params = new URLSearchParams(location.search);
/** `?still`: no motion, no counting, times absolute; for pictures of the page. */
export const still = params.has("still");

// Making a formatter costs more than drawing a row.
const made = new Map();
function format(locale, style) {
  const key = `${locale} ${JSON.stringify(style)}`;
  if (!made.has(key)) made.set(key, new Intl.DateTimeFormat(locale, style));
  return made.get(key);
}

const EPOCH = 1420070400000n;
const STYLES = {
  t: { timeStyle: "short" },
  T: { timeStyle: "medium" },
  d: { dateStyle: "short" },
  D: { dateStyle: "long" },
  f: { dateStyle: "long", timeStyle: "short" },
  F: { dateStyle: "full", timeStyle: "short" },
  s: { dateStyle: "short", timeStyle: "short" },
  S: { dateStyle: "short", timeStyle: "medium" },
};
const STEPS = [["second", 1, 60], ["minute", 60, 60], ["hour", 3600, 24], ["day", 86400, 30], ["month", 2592000, 12], ["year", 31536000, Infinity]];

let ahead = 0;
/** The rehearsal's clock may be moved by a test; the page counts in its time. */
export function setNow(iso) {
  ahead = Date.parse(iso) - Date.now() || 0;
}
export const now = () => Date.now() + ahead;

/** The moment in a snowflake, in milliseconds. */
export const moment = (id) => Number((BigInt(id) >> 22n) + EPOCH);

function relative(seconds, locale) {
  const [unit, size] = STEPS.find(([, each, many]) => Math.abs(seconds) < each * many);
  return new Intl.RelativeTimeFormat(locale, { numeric: seconds === 0 ? "auto" : "always" }).format(Math.trunc(seconds / size), unit);
}

function words(unix, style, locale) {
  if (style === "R" && !still) return relative(unix - Math.floor(now() / 1000), locale);
  return format(locale, STYLES[style] ?? STYLES.f).format(unix * 1000);
}

/** A <t:unix:style> stamp; null where the number is no date. */
export function stamp(unix, style, locale = lang) {
  const date = new Date(unix * 1000);
  if (Number.isNaN(date.getTime())) return null;
  const full = format(locale, STYLES.F).format(date);
  const data = { unix, style, locale };
  return el("time", { class: "time", datetime: date.toISOString(), title: full, data }, words(unix, style, locale));
}

export const clock = (ms) => format(lang, { hour: "2-digit", minute: "2-digit" }).format(ms);
export const day = (ms) => format(lang, { dateStyle: "full" }).format(ms);

function tick() {
  if (document.hidden) return;
  for (const node of document.querySelectorAll('time[data-style="R"]')) {
    const next = words(Number(node.dataset.unix), "R", node.dataset.locale);
    if (node.textContent !== next) node.textContent = next;
  }
}

export function startClock() {
  if (!still) setInterval(tick, 1000);
}
