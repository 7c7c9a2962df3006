// Elements without markup: whatever comes from outside enters as a text node, so nothing in it can become HTML.

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

/** Sets text only where it differs, so that a selection or a screen reader is not disturbed. */
export function text(node, words) {
  if (node.textContent !== words) node.textContent = words;
}

export function show(node, visible) {
  if (node.hidden === visible) node.hidden = !visible;
}

/** What this device keeps; without storage it keeps nothing, and nothing breaks. */
export const keep = {
  get(name) {
    try {
      return JSON.parse(localStorage.getItem(`darkroom.${name}`));
    } catch {
      return null;
    }
  },
  set(name, value) {
    try {
      if (value === null) localStorage.removeItem(`darkroom.${name}`);
      else localStorage.setItem(`darkroom.${name}`, JSON.stringify(value));
    } catch {
      // full or forbidden
    }
  },
};
