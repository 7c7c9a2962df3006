// What a press in the log does. One listener for all rows, so a row can be redrawn at any time.
import { api, sentence } from "./api.js";
import { showPicture } from "./lightbox.js";

export class Acts {
  constructor(store, log, { inspect }) {
    Object.assign(this, { store, log, inspect });
    const box = document.getElementById("log");
    box.addEventListener("click", (e) => this.#click(e));
    box.addEventListener("change", (e) => this.#change(e));
    box.addEventListener("keydown", (e) => {
      if ((e.key === "Enter" || e.key === " ") && e.target.matches(".cover")) {
        e.preventDefault();
        this.#uncover(e.target);
      }
    });
    box.addEventListener("error", (e) => e.target.nodeName === "IMG" && e.target.closest("figure")?.classList.add("broken"), true);
    box.addEventListener("load", (e) => e.target.nodeName === "IMG" && e.target.closest("figure")?.classList.remove("broken"), true);
  }

  #click(e) {
    const room = e.target.closest("a[data-channel]");
    if (room && !e.ctrlKey && !e.metaKey) {
      e.preventDefault();
      return this.store.open(room.dataset.channel);
    }
    const row = e.target.closest(".msg");
    const node = e.target.closest("[data-act]");
    if (!node) return row?.dataset.messageId && this.inspect(row.dataset.messageId);
    const acts = { press: () => this.#press(node, row), open: () => showPicture(node), uncover: () => this.#uncover(node), dismiss: () => this.#dismiss(row), "choose-many": () => this.#chooseMany(node, row) };
    return acts[node.dataset.act]?.();
  }

  #change({ target }) {
    if (target.dataset.act === "choose" && target.value) this.#choose(target, target.closest(".msg"), [target.value]);
  }

  /** Sends an interaction; the control is busy until the bot acknowledged or the 3 s are over (see Log). */
  async #send(row, custom, send) {
    const id = row.dataset.messageId;
    this.log.mark(id, { busy: custom });
    try {
      await send({ as: this.store.as, message_id: id, custom_id: custom });
    } catch (error) {
      this.log.mark(id, { failed: sentence(error) });
    }
  }

  #press(node, row) {
    if (node.getAttribute("aria-busy") !== "true") this.#send(row, node.dataset.custom, api.click);
  }

  #choose(node, row, values) {
    this.#send(row, node.dataset.custom, (body) => api.select({ ...body, values }));
  }

  #chooseMany(node, row) {
    const box = node.closest("details");
    const values = [...box.querySelectorAll("input:checked")].map((i) => i.value);
    if (values.length < Number(box.dataset.least) || values.length > Number(box.dataset.most)) return;
    box.open = false;
    this.#choose(node, row, values);
  }

  #uncover(node) {
    const covered = node.matches(".cover") ? node : node.closest(".spoiler");
    covered.dataset.shown = "";
    if (!node.matches(".cover")) covered.querySelector("button.zoom, a, img")?.focus?.();
  }

  async #dismiss(row) {
    if (row.dataset.interactionId) return this.log.dismiss(row.dataset.interactionId);
    try {
      return await api.deleteMessage({ as: this.store.as, message_id: row.dataset.messageId });
    } catch (error) {
      return this.log.mark(row.dataset.messageId, { failed: sentence(error) });
    }
  }
}
