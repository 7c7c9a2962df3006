// Every sentence of the page, from the host's one catalogue, in the page's language.
export const lang = document.documentElement.lang;
const words = await (await fetch(`/words/${lang}.json`)).json();

/** The sentence of a key; `n` chooses its plural form. Figures are data: inserted once, never read as a pattern. */
export function say(key, figures = {}) {
  const forms = words[key];
  if (!forms) return key;
  const form = figures.n === 1 && forms.one ? forms.one : forms.other;
  return form.replace(/\{(\w+)\}/g, (whole, name) => (name in figures ? String(figures[name]) : whole));
}

/** A length of time as people say it, as the catalogue's own `duration` does. */
export function duration(seconds) {
  if (seconds < 10) return say("eta.soon");
  if (seconds < 57.5) return `${Math.max(10, Math.round(seconds / 5) * 5)} s`;
  if (seconds < 600) {
    const halves = Math.max(2, Math.round(seconds / 30));
    return halves % 2 ? `${(halves - 1) / 2}½ min` : `${halves / 2} min`;
  }
  return `${Math.round(seconds / 60)} min`;
}

/** A measured time: exact where exact is short. */
export function took(seconds) {
  if (seconds < 9.95) return `${new Intl.NumberFormat(lang, { maximumFractionDigits: 1 }).format(Math.max(0.1, seconds))} s`;
  return seconds < 60 ? `${Math.round(seconds)} s` : duration(seconds);
}

/** 8 → 0:08 */
export function clock(seconds) {
  const whole = Math.max(0, Math.round(seconds));
  return `${Math.floor(whole / 60)}:${String(whole % 60).padStart(2, "0")}`;
}

const time = new Intl.DateTimeFormat(lang, { hour: "2-digit", minute: "2-digit", hourCycle: "h23" });
const day = new Intl.DateTimeFormat(lang, { day: "numeric", month: "short" });
const both = new Intl.DateTimeFormat(lang, { dateStyle: "medium", timeStyle: "short" });

/** 14:02 today, 3 Nov before. */
export function stamp(iso) {
  const then = new Date(iso);
  return then.toDateString() === new Date().toDateString() ? time.format(then) : day.format(then);
}

export const moment = (iso) => both.format(new Date(iso));
