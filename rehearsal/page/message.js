// One message as a row: who, when, what was said, its pictures and cards, and what became of its buttons.
import { component } from "./components.js";
import { el } from "./dom.js";
import { embed } from "./embeds.js";
import { limitsLine } from "./limits.js";
import { inline, markdown } from "./markdown.js";
import { attachments } from "./media.js";
import { clock, moment } from "./time.js";
import { say } from "./words.js";

export const FLAGS = { EPHEMERAL: 64, LOADING: 128, SILENT: 4096, V2: 32768 };
const TOGETHER = 5 * 60 * 1000;
const SAID_BY_PEOPLE = new Set([0, 19, 20, 23]);

export const nameOf = (user) => user?.display_name ?? user?.global_name ?? user?.username ?? say("someone");

/** A square face: an initial for a person, a lamp for a bot. */
export function face(user, extra = "") {
  const initial = user?.bot ? "" : [...nameOf(user)][0]?.toUpperCase();
  return el("span", { class: `face ${user?.bot ? "bot" : ""} ${extra}`.trim(), "aria-hidden": "true" }, initial);
}

const invoked = (m) => Boolean(m.command);

/** Whether `m` goes under `before` without a name of its own. */
export function follows(m, before) {
  if (!before || before.author?.id !== m.author?.id || (m.webhook_id && nameOf(before.author) !== nameOf(m.author))) return false;
  if (invoked(m) || m.message_reference || (before.flags ^ m.flags) & FLAGS.EPHEMERAL) return false;
  return SAID_BY_PEOPLE.has(before.type ?? 0) && moment(m.id) - moment(before.id) < TOGETHER;
}

/** Whether `m` calls the played member: by name, by role, or all. */
export function calls(m, ctx) {
  if (m.author?.id === ctx.me || m.flags & FLAGS.SILENT) return false;
  return m.mention_everyone || (m.mentions ?? []).some((u) => u.id === ctx.me) || (m.mention_roles ?? []).some((r) => ctx.myRoles.includes(r));
}

/** "Ada used /imagine", over what came of it. */
export function usedLine(command, ctx) {
  const user = ctx.user(command.user_id);
  return el("p", { class: "used" }, face(user, "mini"), el("b", {}, nameOf(user)), ` ${say("used")} `, el("span", { class: "cmd" }, `/${command.name}`));
}

function replyLine(m, ctx) {
  if (!m.message_reference || invoked(m)) return null;
  const of = m.referenced_message;
  const words = of ? inline((of.content ?? "").split("\n")[0].slice(0, 120), ctx) : say("deleted");
  return el("p", { class: "used" }, of && face(of.author, "mini"), of && el("b", {}, nameOf(of.author)), " ", el("span", { class: "was" }, words));
}

function byLine(m) {
  const at = moment(m.id);
  const when = m.edited_timestamp ? `${clock(at)}, ${say("edited")}` : clock(at);
  const time = el("time", { class: "meta", datetime: new Date(at).toISOString() }, when);
  return el("p", { class: "by" }, el("b", {}, nameOf(m.author)), (m.author?.bot || m.webhook_id) && el("span", { class: "tag" }, say("bot")), time);
}

function reactions(m) {
  if (!m.reactions?.length) return null;
  const one = (r) => el("span", { class: "chip" }, r.emoji.id ? `:${r.emoji.name}:` : r.emoji.name, ` ${r.count}`);
  return el("p", { class: "reactions" }, m.reactions.map(one));
}

function body(m, ctx) {
  if (m.loading || m.flags & FLAGS.LOADING) return el("p", { class: "thinking" }, say("thinking", { name: nameOf(m.author) }));
  const v2 = Boolean(m.flags & FLAGS.V2);
  return el(
    "div",
    { class: v2 ? "parts v2" : "parts" },
    !v2 && m.content && el("div", { class: "text said" }, markdown(m.content, ctx)),
    !v2 && attachments(m.attachments ?? []),
    !v2 && (m.embeds ?? []).map((e) => embed(e, ctx)),
    (m.components ?? []).map((c) => component(c, ctx)),
    reactions(m),
  );
}

function only(m, ctx) {
  if (!(m.flags & FLAGS.EPHEMERAL)) return null;
  const dismiss = el("button", { class: "btn plain small", type: "button", data: { act: "dismiss" } }, say("dismiss"));
  return el("p", { class: "only" }, el("span", { class: "eye", "aria-hidden": "true" }), say("only", { name: ctx.myName }), dismiss);
}

/** The row of one message; `state` says what the page itself knows of it: `failed`, a sentence to show. */
export function messageRow(m, ctx, { grouped = false, state = {} } = {}) {
  const names = ["msg", grouped && "grouped", m.flags & FLAGS.EPHEMERAL && "ephemeral", calls(m, ctx) && "called"];
  return el(
    "article",
    { class: names.filter(Boolean).join(" "), data: { messageId: m.id, row: `m-${m.id}` }, "aria-label": grouped ? nameOf(m.author) : null },
    el("div", { class: "head" }, invoked(m) && usedLine(m.command, ctx), replyLine(m, ctx), !grouped && face(m.author), !grouped && byLine(m)),
    body(m, ctx),
    only(m, ctx),
    state.failed && el("p", { class: "failed", role: "alert" }, state.failed),
    limitsLine(m),
    el("button", { class: "more", type: "button", "aria-label": say("actions") }, "⋯"),
  );
}
