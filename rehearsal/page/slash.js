// Slash commands as data: which there are for a member, what an option takes, whether a draft may be sent. No elements here.
import { say } from "./words.js";

export const KIND = { SUB: 1, GROUP: 2, STRING: 3, INTEGER: 4, BOOLEAN: 5, USER: 6, CHANNEL: 7, ROLE: 8, MENTIONABLE: 9, NUMBER: 10, FILE: 11 };

const localised = (thing, key, locale) => thing[`${key}_localizations`]?.[locale] ?? thing[key];

function flatten(command, options, path, shown, locale) {
  const subs = (options ?? []).filter((o) => o.type === KIND.SUB || o.type === KIND.GROUP);
  if (!subs.length) {
    const described = options === command.options ? command : path.at(-1);
    return [{ ...leaf(command, path, shown, locale), description: localised(described, "description", locale), options: (options ?? []).map((o) => option(o, locale)) }];
  }
  return subs.flatMap((sub) => flatten(command, sub.options, [...path, sub], [...shown, localised(sub, "name", locale)], locale));
}

const leaf = (command, path, shown) => ({ id: command.id, name: [command.name, ...path.map((p) => p.name)].join(" "), shown: shown.join(" ") });

function option(o, locale) {
  const choices = (o.choices ?? []).map((c) => ({ value: c.value, label: localised(c, "name", locale) }));
  return { ...o, shown: localised(o, "name", locale), description: localised(o, "description", locale), choices };
}

/** Every slash command and sub-command a member may use, named in their language, in order of name. */
export function slashCommands(commands, locale) {
  const usable = commands.filter((c) => (c.type ?? 1) === 1 && c.usable !== false);
  const flat = usable.flatMap((c) => flatten(c, c.options, [], [localised(c, "name", locale)], locale));
  return flat.sort((a, b) => a.shown.localeCompare(b.shown, locale));
}

/** Context menu commands: 2 for members, 3 for messages. */
export const menuCommands = (commands, type, locale) => commands.filter((c) => c.type === type && c.usable !== false).map((c) => ({ name: c.name, shown: localised(c, "name", locale) }));

const starts = (command, text) => [command.shown, command.name].some((n) => n.toLowerCase().startsWith(text));
const holds = (command, text) => [command.shown, command.name, command.description ?? ""].some((n) => n.toLowerCase().includes(text));

/** Commands for what was typed after the slash: those that begin with it, then those that hold it. */
export function suggest(commands, typed) {
  const text = typed.toLowerCase().trim();
  const first = commands.filter((c) => starts(c, text));
  return [...first, ...commands.filter((c) => !first.includes(c) && text.length > 1 && holds(c, text))];
}

const called = (command, text) => [command.shown, command.name].map((n) => n.toLowerCase()).find((n) => text === n || text.startsWith(`${n} `));

/** The command a text calls (`/imagine a fox`), the longest name first, and the rest of the text. */
export function commandIn(commands, text) {
  const typed = text.slice(1).toLowerCase();
  const found = commands.map((command) => ({ command, name: called(command, typed) })).filter((f) => f.name);
  const best = found.sort((a, b) => b.name.length - a.name.length)[0];
  return best ? { command: best.command, rest: text.slice(best.name.length + 2) } : null;
}

/** `a fox steps: 4` → the words before the first option name go to the first option that is needed. */
export function split(command, rest) {
  const names = command.options.flatMap((o) => [[o.shown.toLowerCase(), o], [o.name.toLowerCase(), o]]);
  const escaped = [...new Set(names.map(([n]) => n))].map((n) => n.replace(/[^\p{L}\p{N}_]/gu, "\\$&"));
  const parts = escaped.length ? rest.split(new RegExp(`(?:^|\\s)(${escaped.join("|")}):\\s?`, "iu")) : [rest];
  const values = {};
  const first = command.options.find((o) => o.required) ?? command.options[0];
  if (parts[0].trim() && first) values[first.name] = parts[0].trim();
  for (let i = 1; i < parts.length; i += 2) {
    const target = names.find(([n]) => n === parts[i].toLowerCase())[1];
    values[target.name] = parts[i + 1].trim();
  }
  return values;
}

const given = (v) => v !== undefined && v !== null;

function range(low, high) {
  if (given(low) && given(high)) return say("between", { a: low, b: high });
  if (given(low)) return say("at_least", { n: low });
  return given(high) ? say("at_most", { n: high }) : null;
}

/** One short line of what an option takes: "text, to 300", "256 384 512". */
export function takes(o) {
  if (o.choices.length) return o.choices.slice(0, 5).map((c) => c.label).join(" · ") + (o.choices.length > 5 ? " …" : "");
  const limits = o.type === KIND.STRING ? range(null, o.max_length) : range(o.min_value, o.max_value);
  return [say(`type_${o.type}`), limits].filter(Boolean).join(", ");
}

/** Values to choose from that need no asking: choices, yes and no, people, channels, roles. Null where text is typed. */
export function ownValues(o, ctx) {
  if (o.choices.length) return o.choices;
  const named = { [KIND.USER]: "users", [KIND.ROLE]: "roles", [KIND.MENTIONABLE]: "both", [KIND.CHANNEL]: "channels" }[o.type];
  if (named) return ctx.named(named, o.channel_types);
  return o.type === KIND.BOOLEAN ? [{ value: true, label: say("yes") }, { value: false, label: say("no") }] : null;
}

export const matching = (values, text) => values.filter((v) => v.label.toLowerCase().includes(text.toLowerCase()));

function number(o, text) {
  const value = Number(text.replace(",", "."));
  if (!text.trim() || !Number.isFinite(value)) return { wrong: say("not_number", { option: o.shown }) };
  if (o.type === KIND.INTEGER && !Number.isInteger(value)) return { wrong: say("not_integer", { option: o.shown }) };
  if (given(o.min_value) && value < o.min_value) return { wrong: say("too_small", { option: o.shown, n: o.min_value }) };
  if (given(o.max_value) && value > o.max_value) return { wrong: say("too_big", { option: o.shown, n: o.max_value }) };
  return { value };
}

function words(o, text) {
  const length = [...text].length;
  if (o.min_length && length < o.min_length) return { wrong: say("too_short", { option: o.shown, n: o.min_length }) };
  if (o.max_length && length > o.max_length) return { wrong: say("too_long", { option: o.shown, n: o.max_length }) };
  return { value: text };
}

/** `{value}` or `{wrong: sentence}` for what stands in an option's slot. */
export function check(o, slot, ctx) {
  const text = slot.text.trim();
  if (slot.value !== undefined) return { value: slot.value };
  if (!text) return o.required ? { wrong: say("missing", { option: o.shown }) } : {};
  const own = ownValues(o, ctx);
  if (own) {
    const same = own.find((v) => v.label.toLowerCase() === text.toLowerCase() || v.label.slice(1).toLowerCase() === text.toLowerCase() || String(v.value) === text);
    return same ? { value: same.value } : { wrong: say("not_choice", { option: o.shown }) };
  }
  return o.type === KIND.INTEGER || o.type === KIND.NUMBER ? number(o, text) : words(o, text);
}
