// The list of people. A person's line is made once and then only changed: one
// who stays is not touched by those who come and go.
import { t } from "./i18n.js";
import { $, avatar, h, setText } from "./ui.js";
import { preview } from "./thread.js";

export class PeopleView {
  #lines = new Map(); // peer → {item, …}
  #list = $("people");
  #pick;

  constructor(pick) {
    this.#pick = pick;
    this.#list.replaceChildren();
  }

  /** people as Chat.people() has them; open is whose conversation is shown. */
  show(people, open) {
    const listed = new Set(people.map((p) => p.peer));
    for (const [peer, line] of this.#lines) {
      if (listed.has(peer)) continue;
      line.item.remove();
      this.#lines.delete(peer);
    }
    people.forEach((p, i) => {
      const line = this.#line(p.peer);
      const focused = line.item.contains(document.activeElement) && document.activeElement;
      if (this.#list.children[i] !== line.item) this.#list.insertBefore(line.item, this.#list.children[i] ?? null);
      if (focused && document.activeElement !== focused) focused.focus();
      this.#update(line, p, p.peer === open);
    });
    $("people-empty").hidden = people.length > 0;
  }

  focus(peer) {
    (this.#lines.get(peer)?.button ?? $("people-title")).focus();
  }

  #line(peer) {
    let line = this.#lines.get(peer);
    if (line) return line;
    const state = h("span", { class: "aside" });
    const last = h("span", { class: "last", dir: "auto" });
    const unread = h("span", { class: "unread", hidden: "" });
    const button = h(
      "button",
      { type: "button", click: () => this.#pick(peer) },
      avatar(peer),
      h("span", { class: "lines" }, h("bdi", { class: "name" }, peer), state, last),
      unread,
    );
    const item = h("li", { "data-user": peer }, button);
    line = { item, button, state, last, unread };
    this.#lines.set(peer, line);
    return line;
  }

  #update(line, { online, conversation }, current) {
    if (line.item.dataset.online !== String(online)) line.item.dataset.online = online;
    if (line.item.dataset.open !== String(current)) line.item.dataset.open = current;
    if (current) line.button.setAttribute("aria-current", "true");
    else line.button.removeAttribute("aria-current");
    setText(line.state, `, ${t(online ? "online" : "offline")}. `);
    const said = conversation.typing ? t("typing") : (preview(conversation) ?? t(online ? "online" : "offline"));
    setText(line.last, said);
    line.last.classList.toggle("typing", conversation.typing);
    const n = conversation.unread;
    line.unread.hidden = n === 0;
    setText(line.unread, n ? String(n) : "");
    if (n) line.unread.setAttribute("aria-label", t("unread", n));
  }
}
