// The host's API, and the socket of one job.
import { lang } from "./words.js";

const PATIENCE = 15_000;

/** The host refused: `message` is its sentence, `field` what it concerns. Without a status nobody answered. */
export class Refused extends Error {
  constructor(status, { code = "", message = "", field = null } = {}) {
    super(message);
    Object.assign(this, { status, code, field });
  }
}

// Seeds go to 2^63 - 1, beyond what a JavaScript number holds: they travel as digits and live as text here.
const exact = (json) => JSON.parse(json.replace(/"seed":(\d+)/g, '"seed":"$1"'));

async function call(method, path, { body, headers = {} } = {}) {
  let answer;
  let said;
  try {
    answer = await fetch(path, {
      method,
      body,
      headers: { "accept-language": lang, ...(body ? { "content-type": "application/json" } : {}), ...headers },
      signal: AbortSignal.timeout(PATIENCE),
      cache: "no-store",
    });
    said = await answer.text();
  } catch {
    throw new Refused(0);
  }
  let told = {};
  try {
    told = said ? exact(said) : {};
  } catch {
    throw new Refused(0); // a tunnel's page instead of the host's answer
  }
  if (!answer.ok) throw new Refused(answer.status, told.error);
  return told;
}

/** A wish as JSON, its seed as bare digits. */
export function wishBody({ seed, ...rest }) {
  const body = JSON.stringify(rest);
  return seed ? `${body.slice(0, -1)},"seed":${seed}}` : body;
}

export const api = {
  jobs: () => call("GET", "/api/v1/jobs?limit=50"),
  job: (id) => call("GET", `/api/v1/jobs/${id}`),
  models: () => call("GET", "/api/v1/models"),
  status: () => call("GET", "/api/v1/status"),
  submit: (body, key) => call("POST", "/api/v1/jobs", { body, headers: { "idempotency-key": key } }),
  cancel: (id) => call("DELETE", `/api/v1/jobs/${id}`),
  signIn: (key) => call("POST", "/session", { body: JSON.stringify({ key }) }),
  signOut: () => call("DELETE", "/session"),
};

/** Follows one job until it has ended, through any number of broken lines. Returns a function that lets go. */
export function follow(id, onView, onSilence) {
  let socket;
  let wait = 500;
  let over = false;
  let timer;
  const open = () => {
    const url = new URL(`/ws/progress/${id}`, location.href);
    url.protocol = url.protocol.replace("http", "ws");
    socket = new WebSocket(url);
    socket.onmessage = ({ data }) => {
      wait = 500;
      onView(exact(data).job);
    };
    socket.onclose = ({ code }) => {
      if (over || code === 1000 || code === 4404 || code === 4401) return;
      onSilence();
      timer = setTimeout(open, wait * (0.75 + Math.random() / 2));
      wait = Math.min(wait * 1.7, 5000);
    };
  };
  open();
  return () => {
    over = true;
    clearTimeout(timer);
    socket.close();
  };
}
