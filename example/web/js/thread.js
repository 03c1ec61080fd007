// One conversation on the screen.
import { t } from "./i18n.js";
import { photoURL } from "./photo.js";
import { $, avatar, h, icon, setText, time, visible } from "./ui.js";

const HIGHEST = 320; // pixels of a photo, as in style.css

/** What each status of a message of ours looks like, and is called. */
const TICKS = {
  pending: ["clock", "pending"],
  queued: ["tray", "queued"],
  sent: ["tick", "sent"],
  delivered: ["ticks", "delivered"],
  read: ["ticks", "read"],
  failed: ["alert", "failed"],
};

/** What somebody wrote, or "": other clients send content of any shape. */
function words(content) {
  const text = typeof content === "string" ? content : content?.text;
  return typeof text === "string" && visible(text) ? text : "";
}

/** The name of a message that has neither words nor a photo. */
function nothing(content) {
  return t(typeof (content?.text ?? content) === "string" ? "blank" : "odd");
}

function oneLine(m, peer) {
  if (m.note) return t(m.note, peer);
  return words(m.content) || (m.content?.photo ? t("photoOf", m.mine ? t("you") : peer) : nothing(m.content));
}

/** The last thing that somebody said, or a call that was missed, for the list. */
export function preview({ messages, peer }) {
  const last = messages.findLast((m) => !m.note || m.note === "missed");
  return last && (last.mine && !last.note ? `${t("you")}: ` : "") + oneLine(last, peer);
}

/** A message as it is said aloud. */
export function spoken(m, peer) {
  return m.note ? oneLine(m, peer) : `${peer}: ${oneLine(m, peer)}`;
}

export class ThreadView {
  #items = new Map(); // message → its element
  #list = $("messages");
  #conversation = null;
  #retry;
  #room;
  #atEnd = true;

  constructor(retry) {
    this.#retry = retry;
    this.#list.onscroll = () => {
      this.#atEnd = this.#list.scrollHeight - this.#list.scrollTop - this.#list.clientHeight < 60;
    };
    // A call, a banner or a keyboard takes room: the last message stays in sight.
    this.#room = new ResizeObserver(() => this.#atEnd && this.#toEnd());
    this.#room.observe(this.#list);
    this.close();
  }

  get peer() {
    return this.#conversation?.peer ?? null;
  }

  open(conversation, online) {
    this.#conversation = conversation;
    $("thread").hidden = false;
    $("nobody").hidden = true;
    $("chat").dataset.view = "thread";
    setText($("peer"), conversation.peer);
    $("peer-avatar").replaceChildren(avatar(conversation.peer));
    this.state(online);
    this.#items.clear();
    this.#list.replaceChildren(...conversation.messages.map((m) => this.#item(m)));
    this.#toEnd();
  }

  close() {
    this.#conversation = null;
    this.#items.clear();
    this.#list.replaceChildren();
    $("thread").hidden = true;
    $("nobody").hidden = false;
    $("chat").dataset.view = "people";
  }

  /** Whether the other one is there, or typing. */
  state(online) {
    const c = this.#conversation;
    setText($("peer-state"), t(c.typing ? "typing" : online ? "online" : "offline"));
    $("peer-state").dataset.state = c.typing ? "typing" : online ? "online" : "offline";
  }

  /** Shows m as the last message, wherever it was before. */
  add(m) {
    this.#items.get(m)?.remove();
    this.#list.append(this.#item(m));
    if (m.mine || this.#atEnd) this.#toEnd();
  }

  /** Nobody looks at it any more. */
  end() {
    this.close();
    this.#room.disconnect();
    this.#list.onscroll = null;
  }

  /** The status of a message has changed. */
  change(m) {
    const item = this.#items.get(m);
    if (!item) return;
    item.dataset.status = m.status;
    item.querySelector("footer").replaceWith(this.#footer(m));
  }

  #toEnd() {
    this.#list.scrollTop = this.#list.scrollHeight;
    this.#atEnd = true;
  }

  #item(m) {
    const { peer } = this.#conversation;
    if (m.note) {
      const line = h("li", { class: "note" }, h("span", null, t(m.note, peer)), " ", h("time", null, time(m.ts)));
      this.#items.set(m, line);
      return line;
    }
    const text = words(m.content);
    const photo = m.content?.photo ? this.#photo(m, peer) : null;
    const item = h(
      "li",
      { class: m.mine ? "mine" : "theirs", "data-status": m.status },
      h("span", { class: "aside" }, `${m.mine ? t("you") : peer}: `),
      photo,
      text ? h("p", { dir: "auto" }, text) : !photo && h("p", { class: "gone" }, nothing(m.content)),
      this.#footer(m),
    );
    this.#items.set(m, item);
    return item;
  }

  #footer(m) {
    const foot = h("footer", null, h("time", { datetime: new Date(m.ts).toISOString() }, time(m.ts)));
    if (!m.mine) return foot;
    const [name, key] = TICKS[m.status];
    const words = t(key === "failed" && m.error === "offline" ? "notKept" : key, m.error);
    foot.append(h("span", { class: "tick", title: words }, icon(name), h("span", { class: "aside" }, words)));
    if (m.status === "queued") foot.prepend(h("span", { class: "why" }, words));
    if (m.status === "failed") {
      foot.prepend(h("span", { class: "why" }, words));
      if (m.retryable) {
        foot.append(h("button", { type: "button", class: "quiet", click: () => this.#retry(m) }, t("retry")));
      }
    }
    return foot;
  }

  #photo(m, peer) {
    const { photo } = m.content;
    if (photo.gone) return h("p", { class: "gone" }, t("photoGone"));
    const broken = () => h("p", { class: "gone" }, t("photoBroken"));
    const url = photoURL(photo);
    if (!url) return broken();
    const img = h("img", {
      src: url,
      alt: t("photoOf", m.mine ? t("you") : peer),
      load: () => {
        URL.revokeObjectURL(url);
        if (this.#atEnd) this.#toEnd();
      },
      error: () => {
        URL.revokeObjectURL(url);
        img.replaceWith(broken());
      },
    });
    // Its place is kept before it is there.
    if (photo.width > 0 && photo.height > 0) {
      const scale = Math.min(1, HIGHEST / photo.height);
      img.width = photo.width * scale;
      img.height = photo.height * scale;
    }
    return img;
  }
}
