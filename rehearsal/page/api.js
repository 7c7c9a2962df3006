// The control API of the rehearsal (CONTROL.md): questions, deeds, and the stream of what happens.
import { say } from "./words.js";

const PATIENCE = 30_000;
const RETRY = [300, 600, 1200, 2500, 5000];

/** The server said no, and why: `message` is its sentence, `code` its word. */
class Refused extends Error {
  constructor(status, code, sentence) {
    super(sentence);
    Object.assign(this, { status, code });
  }
}

export const sentence = (error) => (error.message ? say("refused", { why: error.message }) : say("no_answer"));

async function call(method, path, body) {
  const json = body instanceof FormData || !body ? {} : { headers: { "content-type": "application/json" } };
  let answer;
  try {
    const sent = body instanceof FormData || !body ? body : JSON.stringify(body);
    answer = await fetch(`/control/${path}`, { method, body: sent, ...json, signal: AbortSignal.timeout(PATIENCE) });
  } catch {
    throw new Refused(0, "gone", "");
  }
  const said = await answer.json().catch(() => ({}));
  if (!answer.ok) throw new Refused(answer.status, said.code ?? "", said.error ?? `HTTP ${answer.status}`);
  return said;
}

const get = (path, query = {}) => {
  const given = Object.entries(query).filter(([, v]) => v !== null && v !== undefined);
  return call("GET", given.length ? `${path}?${new URLSearchParams(given)}` : path);
};
const post = (path, body) => call("POST", path, body);

export const api = {
  state: (as) => get("state", { as }),
  messages: (as, channel, before) => get(`channels/${channel}/messages`, { as, limit: 50, before }),
  interactions: (as, channel) => get("interactions", { as, channel_id: channel }),
  slash: (body) => post("slash", body),
  autocomplete: (body) => post("autocomplete", body),
  menu: (body) => post("menu", body),
  click: (body) => post("click", body),
  select: (body) => post("select", body),
  modal: (body) => post("modal?wait=ack", body),
  message: (body) => post("message", body),
  deleteMessage: (body) => post("message/delete", body),
  dm: (as) => post("dm", { as }),
  newUser: (body) => post("users", body),
  newMember: (body) => post("members", body),
  async upload(as, files) {
    const form = new FormData();
    form.append("as", as);
    for (const file of files) form.append("file", file, file.name);
    return (await post("upload", form)).uploads;
  },
};

/** Follows the events `as` may see (all, without `as`); `onLink(up, again)` tells when the line breaks and comes back. */
export function follow(as, onEvent, onLink) {
  const url = new URL("/control/events", location.href);
  url.protocol = url.protocol.replace("http", "ws");
  if (as) url.searchParams.set("as", as);
  let socket;
  let tries = 0;
  let opened = 0;
  let over = false;
  const open = () => {
    socket = new WebSocket(url);
    socket.onmessage = ({ data }) => onEvent(JSON.parse(data));
    socket.onopen = () => {
      tries = 0;
      onLink(true, opened++ > 0);
    };
    socket.onclose = () => {
      if (over) return;
      onLink(false, false);
      setTimeout(() => over || open(), RETRY[Math.min(tries++, RETRY.length - 1)]);
    };
  };
  open();
  return () => {
    over = true;
    socket.close();
  };
}
