// One photo, large, with its facts. Its address is #photo-<id>, so Back closes it and a reload shows it again.
import { Refused, api } from "./api.js";
import { byId, el } from "./dom.js";
import { askAgain, openSheet, useAgain } from "./form.js";
import { printed } from "./sheet.js";
import { speak, toast } from "./speak.js";
import { changed, job, learn } from "./store.js";
import { moment, say, took } from "./words.js";

const dialog = () => byId("detail");
let opener = null;
let shown = null;

const wanted = () => /^#photo-([0-9a-z]{1,64})$/.exec(location.hash)?.[1] ?? null;

function fact(name, ...value) {
  return [el("dt", {}, name), el("dd", {}, ...value)];
}

function copyButton(value) {
  const button = el("button", { class: "link", type: "button" }, say("page.copy"));
  button.addEventListener("click", async () => {
    try {
      await navigator.clipboard.writeText(value);
    } catch {
      const field = el("textarea", { class: "vh" }, value); // http on another machine has no clipboard
      dialog().append(field);
      field.select();
      document.execCommand("copy");
      field.remove();
    }
    speak(say("page.copied"));
    toast(say("page.copied"));
  });
  return button;
}

function facts(one) {
  const { request, made, pictures } = one;
  const seed = String(pictures[0]?.seed ?? request.seed);
  const waited = one.started_at ? (Date.parse(one.started_at) - Date.parse(one.created_at)) / 1000 : null;
  const time = [made && say("page.fact_made", { t: took(made.seconds), gpu: made.worker }), waited > 1 && say("page.fact_waited", { t: took(waited) })].filter(Boolean);
  return el(
    "dl", {},
    fact(say("page.seed"), seed, " ", copyButton(seed)),
    fact(say("page.model"), request.model),
    fact(say("page.size"), say("page.fact_size", { w: request.width, h: request.height })),
    fact(say("page.steps"), say("page.fact_steps", { steps: request.steps, guidance: request.guidance })),
    request.negative ? fact(say("page.negative_label"), request.negative) : [],
    time.length ? fact(say("page.fact_time"), time.join(", ")) : [],
    made ? fact(say("page.fact_pass"), made.shared_with ? say("run.shared", { n: made.shared_with }) : say("page.fact_alone")) : [],
    fact(say("page.fact_asked"), moment(one.created_at)),
  );
}

function verbs(one) {
  const again = el("button", { class: `btn${one.status === "done" ? "" : " main"}`, type: "button" }, say("page.use_again"));
  again.addEventListener("click", () => {
    close();
    if (matchMedia("(max-width: 767px)").matches) openSheet();
    useAgain(one.request);
  });
  if (one.status !== "done") {
    const retry = el("button", { class: "btn", type: "button" }, say("verb.retry"));
    retry.addEventListener("click", () => {
      close();
      askAgain(one.request);
    });
    return el("div", { class: "verbs" }, again, retry);
  }
  const picture = one.pictures[0];
  const name = `darkroom-${one.request.seed}-${one.id.slice(-6)}.png`;
  return el("div", { class: "verbs" }, el("a", { class: "btn main", href: picture.url, download: name }, say("page.download")), again);
}

function large(one) {
  const picture = one.pictures[0];
  if (!picture) return el("div", { class: "pic" }, el("p", { class: "state failed" }, el("span", {}, one.error?.message ?? say(`state.${one.status}`))));
  const { width: w, height: h } = picture;
  const image = el("img", { src: picture.url, width: w, height: h, alt: say("alt.picture", { prompt: one.request.prompt, w, h }), css: { "--w": w, "--h": h } });
  image.addEventListener("error", () => image.replaceWith(el("p", { class: "meta" }, say("page.file_gone"))));
  return el("div", { class: "pic" }, image);
}

function neighbours(id) {
  const list = printed().map((one) => one.id);
  const at = list.indexOf(id);
  return at < 0 ? [null, null] : [list[at - 1] ?? null, list[at + 1] ?? null];
}

function arrow(id, label, sign) {
  const button = el("button", { class: "btn plain", type: "button", "aria-label": label, disabled: !id }, sign);
  button.addEventListener("click", () => walk(id));
  return button;
}

function walk(id) {
  if (id) location.replace(`#photo-${id}`); // Back leads to the sheet, not through every photo
}

function fill(one) {
  const [before, after] = neighbours(one.id);
  const shut = el("button", { class: "btn plain", type: "button", autofocus: true }, say("page.close"));
  shut.addEventListener("click", close);
  const words = one.status === "done" ? say("page.made_in", { t: took(one.made?.seconds ?? 0) }) : say(`state.${one.status}`);
  dialog().replaceChildren(
    large(one),
    el(
      "div", { class: "facts" },
      el("div", { class: "shut" }, el("p", { class: `state ${one.status}` }, el("span", {}, words)), el("span", { class: "arrows" }, arrow(before, say("page.previous"), "←"), arrow(after, say("page.next"), "→"), shut)),
      el("h2", { class: "quote", id: "detail-title" }, one.request.prompt),
      el("p", { class: "meta" }, copyButton(one.request.prompt)),
      facts(one),
      verbs(one),
    ),
  );
  shown = one.id;
}

function close() {
  if (wanted()) history.length > 1 && opener ? history.back() : history.replaceState(null, "", location.pathname + location.search);
  hide();
}

function hide() {
  shown = null;
  if (!dialog().open) return;
  dialog().close();
  opener?.focus();
  opener = null;
}

/** Shows what the address asks for. */
export async function showWanted() {
  const id = wanted();
  if (!id) return hide();
  if (id === shown) return;
  let one = job(id);
  if (!one) {
    try {
      one = await api.job(id);
    } catch (error) {
      if (!(error instanceof Refused)) throw error;
      if (error.status) close();
      return;
    }
    learn(one);
    changed();
  }
  if (wanted() !== id) return;
  if (!dialog().open) opener = document.activeElement === document.body ? null : document.activeElement;
  fill(one);
  if (!dialog().open) dialog().showModal();
}

export function startDetail() {
  addEventListener("hashchange", showWanted);
  dialog().addEventListener("cancel", (event) => {
    event.preventDefault();
    close();
  });
  dialog().addEventListener("click", (event) => event.target === dialog() && close());
  dialog().addEventListener("keydown", (event) => {
    if (event.ctrlKey || event.metaKey || event.altKey || !shown) return;
    const [before, after] = neighbours(shown);
    if (event.key === "ArrowLeft") walk(before);
    else if (event.key === "ArrowRight") walk(after);
  });
}
