// Turns a shown message into its newer version in place: focus, an open list, an uncovered spoiler and a loaded picture stay.
// Listeners are delegated (see act.js), so attributes and text are all there is to copy.

// What the reader did to an element is not the message's to undo.
const KEPT = { DETAILS: ["open"], VIDEO: ["src"], BUTTON: [], DIV: ["data-shown"], FIGURE: ["data-shown"] };

function attributes(old, fresh) {
  const kept = KEPT[old.nodeName] ?? [];
  for (const { name } of [...old.attributes]) {
    if (name !== "style" && !fresh.hasAttribute(name) && !kept.includes(name)) old.removeAttribute(name);
  }
  for (const { name, value } of fresh.attributes) {
    if (name === "style" || (old.nodeName === "IMG" && name === "src")) continue;
    if (old.getAttribute(name) !== value) old.setAttribute(name, value);
  }
  // setAttribute("style") is refused by the page's CSP; cssText is not.
  if (old.style.cssText !== fresh.style.cssText) old.style.cssText = fresh.style.cssText;
}

/** Shows `src` in `img` only once it is decoded, so that no frame is blank; the newest call wins. */
async function picture(img, src) {
  if (img.getAttribute("src") === src) {
    delete img.dataset.coming;
    return;
  }
  img.dataset.coming = src;
  const next = new Image();
  next.src = src;
  try {
    await next.decode();
  } catch {
    // A broken picture still replaces the old one: its alternative text is the honest state.
  }
  if (img.dataset.coming !== src) return;
  delete img.dataset.coming;
  img.src = src;
}

const kind = (node) => `${node.nodeName} ${node.dataset?.key ?? ""} ${node.classList?.[0] ?? ""}`;

function update(now, next) {
  if (now.nodeType !== Node.TEXT_NODE) morph(now, next);
  else if (now.data !== next.data) now.data = next.data;
}

function drop(from, until) {
  for (let now = from; now !== until;) {
    const stale = now;
    now = now.nextSibling;
    stale.remove();
  }
}

/** In order: what has a later twin among the old is updated, what has none is put in, what nobody asks for goes. */
function children(old, fresh) {
  let now = old.firstChild;
  for (const next of [...fresh.childNodes]) {
    let twin = now;
    while (twin && kind(twin) !== kind(next)) twin = twin.nextSibling;
    if (twin) {
      drop(now, twin);
      now = twin.nextSibling;
      update(twin, next);
    } else old.insertBefore(next, now);
  }
  drop(now, null);
}

/** Makes `old` equal to `fresh` with the fewest changes; both are elements of the same kind. */
export function morph(old, fresh) {
  attributes(old, fresh);
  if (old.nodeName === "IMG") picture(old, fresh.getAttribute("src"));
  else children(old, fresh);
  if (old.nodeName === "SELECT") old.selectedIndex = [...old.options].findIndex((o) => o.defaultSelected);
}
