// Elements without markup: everything a message says enters as a text node, so nothing in it can become HTML.

const LOOPBACK = new Set(["127.0.0.1", "localhost", "[::1]"]);

function put(node, key, value) {
  if (value === null || value === undefined || value === false) return;
  if (key === "class") node.className = value;
  else if (key === "data") Object.assign(node.dataset, value);
  else if (key === "css") for (const [name, v] of Object.entries(value)) node.style.setProperty(name, v);
  else if (key === "on") for (const [name, f] of Object.entries(value)) node.addEventListener(name, f);
  else node.setAttribute(key, value === true ? "" : String(value));
}

/** An element with attributes (`class`, `data`, `css`, `on` are special) and children; empty children are left out. */
export function el(tag, props = {}, ...kids) {
  const node = document.createElement(tag);
  for (const [key, value] of Object.entries(props)) put(node, key, value);
  node.append(...kids.flat(Infinity).filter((kid) => kid !== null && kid !== undefined && kid !== false && kid !== ""));
  return node;
}

export const byId = (id) => document.getElementById(id);

/** An address on this machine without its host (127.0.0.1 and localhost are two origins for the CSP); null for others. */
export function mediaUrl(raw) {
  try {
    const url = new URL(raw, location.href);
    if (url.protocol === "blob:") return url.href;
    if (!/^https?:$/.test(url.protocol)) return null;
    if (url.host !== location.host && !LOOPBACK.has(url.hostname)) return null;
    return url.pathname + url.search;
  } catch {
    return null;
  }
}

export const isHere = (href) => LOOPBACK.has(new URL(href).hostname);

/** An address a person may follow: http and https only, null for the rest (javascript:, data:, …). */
export function linkUrl(raw) {
  try {
    const url = new URL(raw);
    return /^https?:$/.test(url.protocol) ? url.href : null;
  } catch {
    return null;
  }
}

export function link(raw, ...kids) {
  const href = linkUrl(raw);
  return href ? el("a", { href, target: "_blank", rel: "noopener noreferrer" }, ...kids) : el("span", {}, ...kids);
}

export function bytes(n, lang) {
  const units = ["byte", "kilobyte", "megabyte", "gigabyte"];
  const power = n > 0 ? Math.min(3, Math.floor(Math.log(n) / Math.log(1024))) : 0;
  const unit = { style: "unit", unit: units[power], unitDisplay: power ? "short" : "long", maximumFractionDigits: power > 1 ? 1 : 0 };
  return new Intl.NumberFormat(lang, unit).format(n / 1024 ** power);
}
