// The markdown of messages, as Discord reads it, made into nodes. Anything not understood stays the text it was.
import { el, link, linkUrl } from "./dom.js";
import { stamp } from "./time.js";
import { say } from "./words.js";

// Nesting deeper than this is somebody playing, and would cost a stack frame a level.
const DEEPEST = 12;

const span = (tag, name) => (m, rule) => el(tag, name ? { class: name } : {}, ...rule.inner(m[1]));

function userMention(m, { ctx }) {
  const name = ctx.userName(m[1]);
  return el("span", { class: m[1] === ctx.me ? "mention mine" : "mention" }, `@${name ?? say("someone")}`);
}

function channelMention(m, { ctx }) {
  const name = ctx.channelName(m[1]);
  if (!name) return el("span", { class: "mention" }, `# ${say("no_channel")}`);
  return el("a", { class: "mention", href: `?channel=${m[1]}`, data: { channel: m[1] } }, `#${name}`);
}

function spoiler(m, rule) {
  const cover = { class: "cover", role: "button", tabindex: "0", "aria-label": say("spoiler"), data: { act: "uncover" } };
  return el("span", cover, el("span", {}, ...rule.inner(m[1])));
}

function named(m, rule) {
  return linkUrl(m[2]) ? link(m[2], ...rule.inner(m[1])) : m[0];
}

// In this order: the first that fits wins. All are sticky (y): tried at one place, never searched for.
const RULES = [
  [/\\([^0-9A-Za-z\s])/y, (m) => m[1]],
  [/<@!?(\d{1,20})>/y, userMention],
  [/<@&(\d{1,20})>/y, (m, { ctx }) => el("span", { class: "mention" }, `@${ctx.roleName(m[1]) ?? say("role")}`)],
  [/<#(\d{1,20})>/y, channelMention],
  [/<\/([^:>\n]{1,100}):\d{1,20}>/y, (m) => el("span", { class: "mention" }, `/${m[1]}`)],
  [/<t:(-?\d{1,13})(?::([tTdDfFsSR]))?>/y, (m, { ctx }) => stamp(Number(m[1]), m[2] ?? "f", ctx.locale) ?? m[0]],
  [/<a?:(\w{2,32}):\d{1,20}>/y, (m) => el("span", { class: "emoji" }, `:${m[1]}:`)],
  [/<(https?:\/\/[^\s<>]+)>/y, (m) => link(m[1], m[1])],
  [/@(?:everyone|here)\b/y, (m) => el("span", { class: "mention" }, m[0])],
  [/\[((?:\\.|[^[\]\\\n])+)\]\(<?(https?:\/\/[^\s<>]+?)>?(?: "[^"\n]*")?\)/y, named],
  [/https?:\/\/[^\s<>"]+[^\s<>".,:;!?'\])]/y, (m) => link(m[0], m[0])],
  [/\|\|([\s\S]+?)\|\|/y, spoiler],
  [/\*\*\*((?:\\[\s\S]|[^\\*])+)\*\*\*(?!\*)/y, (m, rule) => el("strong", {}, el("em", {}, ...rule.inner(m[1])))],
  [/\*\*((?:\\[\s\S]|[^\\])+?)\*\*(?!\*)/y, span("strong")],
  [/__((?:\\[\s\S]|[^\\])+?)__(?!_)/y, span("u")],
  [/~~([\s\S]+?)~~(?!_)/y, span("s")],
  [/\*(?=\S)((?:\*\*|\\[\s\S]|\s+(?:[^*\s\\]|\*\*)|[^\s*\\])+?)\*(?!\*)/y, span("em")],
  [/\b_((?:__|\\[\s\S]|[^\\_])+?)_\b/y, span("em")],
];
const START = /[\\`<@[|*_~]|https?:\/\//g;

export function inline(text, ctx, depth = 0) {
  if (depth > DEEPEST) return [text];
  const out = [];
  const rule = { ctx, inner: (part) => inline(part, ctx, depth + 1) };
  let at = 0;
  let plain = "";
  const flush = () => {
    if (plain) out.push(...breaks(plain));
    plain = "";
  };
  while (at < text.length) {
    const [length, node] = first(text, at, rule) ?? [0, null];
    if (length) {
      if (typeof node === "string") plain += node;
      else {
        flush();
        out.push(node);
      }
      at += length;
      continue;
    }
    START.lastIndex = at + 1;
    const end = START.exec(text)?.index ?? text.length;
    plain += text.slice(at, end);
    at = end;
  }
  flush();
  return out;
}

// By hand: as one pattern, a run of thousands of backticks takes cubic time.
function code(text, at) {
  let run = at;
  while (text[run] === "`") run += 1;
  const fence = text.slice(at, run);
  for (let end = text.indexOf(fence, run); end > 0; end = text.indexOf(fence, end)) {
    let stop = end;
    while (text[stop] === "`") stop += 1;
    if (stop - end === fence.length) return [stop - at, el("code", {}, text.slice(run, end))];
    end = stop;
  }
  return [fence.length, fence];
}

function first(text, at, rule) {
  if (text[at] === "`") return code(text, at);
  for (const [pattern, make] of RULES) {
    pattern.lastIndex = at;
    const m = pattern.exec(text);
    if (m) return [m[0].length, make(m, rule)];
  }
  return null;
}

function breaks(text) {
  return text.split("\n").flatMap((line, i) => (i ? [el("br"), line] : [line]));
}

// Line by line: what a line opens, and how many lines it takes.
const HEADING = /^(#{1,3})\s+(\S.*)$/;
const SUB = /^-#\s+(\S.*)$/;
const BULLET = /^(\s*)([-*])\s+(\S.*)$/;
const NUMBER = /^(\s*)(\d{1,9})\.\s+(\S.*)$/;
const QUOTE = /^> ?(.*)$/;
const special = (line) => HEADING.test(line) || SUB.test(line) || BULLET.test(line) || NUMBER.test(line) || /^>(?:>>)? /.test(line) || line.trim() === "";

function takeWhile(lines, at, pattern) {
  const taken = [];
  while (at + taken.length < lines.length && pattern.test(lines[at + taken.length])) taken.push(pattern.exec(lines[at + taken.length]));
  return taken;
}

function quote(lines, at, ctx) {
  if (lines[at].startsWith(">>> ")) {
    const rest = [lines[at].slice(4), ...lines.slice(at + 1)];
    return [rest.length, el("blockquote", {}, ...blocks(rest, ctx, true))];
  }
  const taken = takeWhile(lines, at, /^> (.*)$/);
  return [taken.length, el("blockquote", {}, ...blocks(taken.map((m) => m[1]), ctx, true))];
}

function list(lines, at, ctx) {
  const ordered = NUMBER.test(lines[at]);
  const taken = takeWhile(lines, at, ordered ? NUMBER : BULLET);
  const items = taken.map((m) => el("li", { class: m[1].length > 1 ? "deep" : null }, ...inline(m[3], ctx)));
  return [taken.length, el(ordered ? "ol" : "ul", { class: "list-md", start: ordered ? taken[0][2] : null }, ...items)];
}

function paragraph(lines, at, ctx) {
  let end = at + 1;
  while (end < lines.length && !special(lines[end])) end += 1;
  return [end - at, el("p", {}, ...inline(lines.slice(at, end).join("\n"), ctx))];
}

function block(lines, at, ctx, quoted) {
  const line = lines[at];
  const heading = HEADING.exec(line);
  // No heading by role: the outline is the page's.
  if (heading) return [1, el("p", { class: `h${heading[1].length}` }, ...inline(heading[2], ctx))];
  const sub = SUB.exec(line);
  if (sub) return [1, el("p", { class: "sub" }, ...inline(sub[1], ctx))];
  if (!quoted && (QUOTE.test(line) && /^>(?:>>)? /.test(line))) return quote(lines, at, ctx);
  if (BULLET.test(line) || NUMBER.test(line)) return list(lines, at, ctx);
  if (line.trim() === "") return [1, el("p", { class: "gap" })];
  return paragraph(lines, at, ctx);
}

function blocks(lines, ctx, quoted = false) {
  const out = [];
  let at = 0;
  while (at < lines.length) {
    const [taken, node] = block(lines, at, ctx, quoted);
    out.push(node);
    at += taken;
  }
  return out;
}

export function markdown(text, ctx) {
  const parts = String(text ?? "").split(/```(?:([\w+\-.#]{1,30})\n)?\n?([\s\S]+?)\n?```/);
  const out = [];
  // split() with two groups gives text, language, code, text, …
  for (let i = 0; i < parts.length; i += 3) {
    const plain = parts[i].replace(i ? /^\n/ : /^(?!)/, "").replace(/\n$/, i + 1 < parts.length ? "" : "\n");
    if (plain.trim()) out.push(...blocks(plain.replace(/\n+$/, "").split("\n"), ctx));
    if (i + 2 < parts.length) out.push(el("pre", { tabindex: "0" }, el("code", { lang: parts[i + 1] ? "zxx" : null }, parts[i + 2])));
  }
  return out;
}

/** The same words without marks, for status lines and previews. */
export function plainText(text, ctx) {
  return el("div", {}, ...markdown(text, ctx)).textContent.replace(/\s+/g, " ").trim();
}
