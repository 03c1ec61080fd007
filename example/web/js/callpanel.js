// The call on the screen.
import { t } from "./i18n.js";
import { quiet, ringing } from "./tone.js";
import { $, avatar, h, icon, say } from "./ui.js";

export class CallPanel {
  #panel = $("call");
  #line = $("call-line");
  #calls;
  #media;
  #shown = null; // the state that is on the screen

  constructor(calls, media) {
    this.#calls = calls;
    this.#media = media;
    for (const of of [calls, media]) of.addEventListener("change", () => this.show());
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
      this.#line.replaceChildren();
      return;
    }
    document.body.dataset.media = this.#media.state;
    const [title, ...buttons] = this.#says(call);
    // The focus stays where it is: whoever is typing must not answer by Enter.
    const focused = this.#panel.contains(document.activeElement);
    const note = this.#adds(call);
    this.#line.replaceChildren(
      avatar(call.peer),
      h("div", { class: "lines" }, h("p", { class: "title" }, title), note && h("p", { class: "note" }, note)),
      h("div", { class: "buttons" }, ...buttons),
    );
    if (focused) (this.#line.querySelector("button") ?? this.#panel).focus();
    if (this.#shown !== call.state) say(title);
    this.#shown = call.state;
  }

  /** What there is to add to the title, if anything. */
  #adds({ state, ringing, token, peer, durationMs }) {
    switch (state) {
      case "dialling":
        return ringing ? t("ringing") : null;
      case "active":
        if (!token) return t("signalling");
        if (this.#media.silent && ["mute", "talking"].includes(this.#media.state)) return t("silent");
        if (this.#media.state === "talking") return null;
        return t({ waiting: "waiting", mute: "mute", lost: "lost", failed: "noMedia" }[this.#media.state] ?? "joining", peer);
      case "over":
        return durationMs === undefined ? null : t("lasted", clock(durationMs));
    }
    return null;
  }

  #says(call) {
    const calls = this.#calls;
    // The panel comes, and changes, under the mouse: the second half of a double
    // click was meant for what had been there.
    const button = (kind, name, key, act) =>
      h("button", { type: "button", class: kind, click: (e) => e.detail < 2 && act() }, icon(name), h("span", null, t(key)));
    const { peer, state, media } = call;
    switch (state) {
      case "dialling":
        return [t("dialling", peer), button("danger", "hangup", "giveUp", () => calls.cancel())];
      case "incoming":
        return [
          t(media === "video" ? "incomingVideo" : "incomingAudio", peer),
          button("go", media === "video" ? "video" : "phone", "accept", () => calls.accept()),
          button("danger", "hangup", "decline", () => calls.decline()),
        ];
      case "answering":
        return [t("answering"), button("danger", "hangup", "hangUp", () => calls.hangUp())];
      case "declining":
        return [t("declining")];
      case "active":
        return [t("active", peer), button("danger", "hangup", "hangUp", () => calls.hangUp())];
      default:
        return [t(call.ending, peer), h("button", { type: "button", class: "quiet", click: () => calls.dismiss() }, t("close"))];
    }
  }
}

/** A time as m:ss. */
function clock(ms) {
  const seconds = Math.round(ms / 1000);
  return `${Math.floor(seconds / 60)}:${String(seconds % 60).padStart(2, "0")}`;
}
