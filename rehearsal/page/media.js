// Pictures, clips and files of a message. The box has its final shape before the file is there: nothing jumps.
import { bytes, el, mediaUrl } from "./dom.js";
import { lang, say } from "./words.js";

const kindOf = (media) => (media.content_type ?? guess(media.filename ?? media.url ?? "")).split("/")[0];

function guess(name) {
  const path = name.split("?")[0].toLowerCase();
  if (/\.(png|jpe?g|webp|gif|avif)$/.test(path)) return "image/*";
  return /\.(mp4|webm|mov)$/.test(path) ? "video/*" : "file/*";
}

const size = (media) => ({ width: media.width || null, height: media.height || null });
const nameOf = (media) => media.filename ?? media.name ?? decodeURIComponent((media.url ?? "").split("?")[0].split("/").pop() || say("unfinished"));

function absent(media, alt) {
  return el("p", { class: "absent" }, el("b", {}, alt || nameOf(media)), el("span", { class: "meta" }, say("external")));
}

function shown(media, alt) {
  const src = mediaUrl(media.url);
  if (kindOf(media) === "video") return el("video", { src, controls: true, preload: "metadata", "aria-label": alt || nameOf(media), ...size(media) });
  const img = el("img", { src, alt: alt || nameOf(media), decoding: "async", ...size(media) });
  return el("button", { class: "zoom", type: "button", data: { act: "open" }, title: alt || null }, img);
}

function cover() {
  return el("button", { class: "uncover", type: "button", data: { act: "uncover" } }, say("spoiler"));
}

/** One picture or clip with its own proportions, at most 540 px high, at least 330 px wide where there is room. */
export function figure(media, { alt = "", spoiler = false } = {}) {
  const { width, height } = media;
  const css = width && height ? { "--w": `${width}px`, "--ratio": width / height } : {};
  if (!mediaUrl(media.url)) return el("figure", { class: "pic gone" }, absent(media, alt));
  return el("figure", { class: spoiler ? "pic spoiler" : "pic", css }, shown(media, alt), spoiler && cover());
}

/** 1 to 10 items side by side: 1; 2; 3 = 1 + 2; 4 = 2×2; 5 = 2 + 3; to 10 = 1 + 3×3. */
export function gallery(items) {
  const figures = items.map((item) => figure(item.media ?? item, { alt: item.description, spoiler: item.spoiler }));
  return el("div", { class: `gallery g${Math.min(items.length, 10)}` }, figures);
}

export function fileRow(file, { spoiler = false } = {}) {
  const href = mediaUrl(file.url);
  const name = nameOf(file);
  const label = href ? el("a", { href, download: name }, name) : el("b", {}, name);
  const note = href ? bytes(file.size ?? 0, lang) : say("external");
  const row = el("div", { class: "file" }, el("span", { class: "sheet", "aria-hidden": "true" }), el("span", { class: "names" }, label, el("span", { class: "meta" }, note)));
  return spoiler ? el("div", { class: "pic spoiler wide" }, row, cover()) : row;
}

export function attachments(list) {
  const isMedia = (a) => ["image", "video"].includes(kindOf(a));
  const spoiled = (a) => ({ ...a, media: a, spoiler: Boolean(a.is_spoiler) || (a.filename ?? "").startsWith("SPOILER_") });
  const media = list.filter(isMedia).map(spoiled);
  return [media.length > 0 && gallery(media), list.filter((a) => !isMedia(a)).map((a) => fileRow(a, spoiled(a)))];
}
