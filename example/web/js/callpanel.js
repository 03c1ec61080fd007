// The call on the screen.
import { t } from "./i18n.js";
import { ringing, quiet } from "./tone.js";
import { $, avatar, h, icon, say } from "./ui.js";

export class CallPanel {
  #panel = $("call");
  #calls;
  #shown = null; // the state that is on the screen

  constructor(calls) {
    this.#calls = calls;
    calls.addEventListener("change", () => this.show());
    this.show();
  }

  /** Draws the call; again also when the language has changed. */
  show() {
    const { call } = this.#calls;
    this.#panel.hidden = !call;
    this.#panel.dataset.state = call?.state ?? "none";
    document.body.dataset.call = call?.state ?? "none";
    if (call?.state === "incoming" || call?.state === "dialling") ringing(call.state === "incoming");
    else quiet();
    if (!call) {
      this.#shown = null;
      this.#panel.replaceChildren();
      return;
    }
    const [title, ...buttons] = this.#says(call);
    // The focus stays where it is: whoever is typing must not answer by Enter.
    const focused = this.#panel.contains(document.activeElement);
    this.#panel.replaceChildren(
      avatar(call.peer),
      h("div", { class: "lines" }, h("p", { class: "title" }, title), call.state === "active" && h("p", { class: "note" }, t("signalling"))),
      h("div", { class: "buttons" }, ...buttons),
    );
    if (focused) (this.#panel.querySelector("button") ?? this.#panel).focus();
    if (this.#shown !== call.state) say(title);
    this.#shown = call.state;
  }

  #says(call) {
    const calls = this.#calls;
    const button = (kind, name, key, click) => h("button", { type: "button", class: kind, click }, icon(name), h("span", null, t(key)));
    const { peer, state, media } = call;
    switch (state) {
      case "dialling":
        return [t("dialling", peer), button("danger", "hangup", "giveUp", () => calls.hangUp())];
      case "incoming":
        return [
          t(media === "video" ? "incomingVideo" : "incomingAudio", peer),
          button("go", media === "video" ? "video" : "phone", "accept", () => calls.accept()),
          button("danger", "hangup", "decline", () => calls.decline()),
        ];
      case "declining":
        return [t("declining")];
      case "active":
        return [t("active", peer), button("danger", "hangup", "hangUp", () => calls.hangUp())];
      default:
        return [t(call.ending, peer), h("button", { type: "button", class: "quiet", click: () => calls.dismiss() }, t("close"))];
    }
  }
}
