// What the page knows. Jobs come from the list, from answers and from sockets, in any order: the larger `seq` is the newer.
const jobs = new Map();
const listeners = new Set();

export const ENDED = new Set(["done", "failed", "cancelled", "expired", "quarantined"]);
export const ACTIVE = new Set(["leased", "running"]);

export const state = {
  models: null,
  status: null,
  loaded: false,
  /** Milliseconds of the last answer. */
  heard: 0,
  silent: false,
};

/** Takes a view in; says whether it was news. */
export function learn(view) {
  const known = jobs.get(view.id);
  if (known && known.seq >= view.seq) return false;
  jobs.set(view.id, { ...view, received: performance.now() });
  return true;
}

export const job = (id) => jobs.get(id);

/** Newest first. Ids sort by time. */
export const all = () => [...jobs.values()].sort((a, b) => (a.id < b.id ? 1 : -1));

/** Waiting jobs in the order of their turns: those with a place first, the others by age. */
export function waiting() {
  const queued = all().filter((one) => one.status === "queued");
  return queued.sort((a, b) => (a.position ?? Infinity) - (b.position ?? Infinity) || (a.id < b.id ? -1 : 1));
}

/** Forgets what the host no longer lists, except what it was told moments ago. */
export function prune(listed) {
  const names = new Set(listed.map((one) => one.id));
  for (const [id, one] of jobs) if (!names.has(id) && performance.now() - one.received > 60_000) jobs.delete(id);
}

export function onChange(listener) {
  listeners.add(listener);
}

let scheduled = false;
/** Tells everybody, once a frame however much was learnt. A hidden tab has no frames, so a timer stands in. */
export function changed() {
  if (scheduled) return;
  scheduled = true;
  const tell = () => {
    scheduled = false;
    for (const listener of listeners) listener();
  };
  if (document.hidden) setTimeout(tell, 250);
  else requestAnimationFrame(tell);
}
