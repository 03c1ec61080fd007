// The page: logs in, and puts what Chat and Calls know on the screen.
import { Calls } from "./call.js";
import { CallPanel } from "./callpanel.js";
import { Chat } from "./chat.js";
import { switchLanguage, t, translate } from "./i18n.js";
import { Media } from "./media.js";
import { PeopleView } from "./people.js";
import { PhotoError, readPhoto } from "./photo.js";
import { LoginError, Session } from "./session.js";
import { spoken, ThreadView } from "./thread.js";
import { $, say, setText } from "./ui.js";

let open = null; // makes a client of heymanito's, when it and socket.io-client are installed
let room = null; // what is there while somebody is logged in

/** Everything that belongs to one login. */
class Room {
  heard = []; // and not said yet

  constructor(session) {
    this.chat = new Chat(open, session);
    this.calls = new Calls(this.chat.client, (peer, key) => this.chat.note(peer, key));
    this.media = new Media(this.calls);
    this.panel = new CallPanel(this.calls, this.media);
    this.people = new PeopleView((peer) => this.open(peer));
    this.thread = new ThreadView((m) => this.chat.retry(this.thread.peer, m));
    const on = (name, f) => this.chat.addEventListener(name, (e) => f(...e.detail));
    on("connection", () => this.showConnection());
    on("presence", () => this.showPeople());
    on("conversation", () => this.showPeople());
    on("message", (c, m) => {
      if (c.peer === this.thread.peer) this.thread.add(m);
      if (!m.mine) this.hear(spoken(m, c.peer));
      this.changed();
    });
    on("changed", (c, m) => {
      if (c.peer === this.thread.peer) this.thread.change(m);
      this.changed();
    });
    on("refused", (code) => logout(t("refused", code)));
    on("ended", () => logout(t("ended")));
    this.showConnection();
    this.showPeople();
  }

  close() {
    clearTimeout(this.saving);
    clearTimeout(this.saying);
    this.calls.leave();
    this.calls.close();
    this.media.leave();
    this.panel.show();
    this.thread.end();
    this.chat.close();
  }

  open(peer) {
    this.thread.open(this.chat.conversation(peer), this.chat.online.has(peer));
    this.look();
    this.showPeople();
    if (matchMedia("(pointer: fine)").matches) $("text").focus();
    else $("back").focus(); // no keyboard over half the screen
  }

  back() {
    const { peer } = this.thread;
    this.thread.close();
    this.look();
    this.showPeople();
    this.people.focus(peer);
  }

  /** What is on the screen, and seen, is read. */
  look() {
    this.chat.open(document.visibilityState === "visible" ? this.thread.peer : null);
  }

  /** Says what has come; of many messages at once, how many they are. */
  hear(text) {
    this.heard.push(text);
    this.saying ??= setTimeout(() => {
      this.saying = null;
      const heard = this.heard.splice(0);
      if (heard.length > 5) say(t("news", heard.length));
      else heard.forEach(say);
    }, 100);
  }

  changed() {
    this.showPeople();
    this.saving ??= setTimeout(() => {
      this.saving = null;
      this.chat.save();
    }, 300);
  }

  showPeople() {
    const people = this.chat.people();
    this.people.show(people, this.thread.peer);
    const { peer } = this.thread;
    if (peer) this.thread.state(this.chat.online.has(peer));
    const unread = people.reduce((n, p) => n + p.conversation.unread, 0);
    document.title = (unread ? `(${unread}) ` : "") + "Hey Manito!";
  }

  showConnection() {
    const { connection } = this.chat;
    document.body.dataset.connection = connection;
    $("banner").hidden = connection === "online";
    setText($("banner"), connection === "online" ? "" : t(connection));
    for (const id of ["ring-audio", "ring-video"]) $(id).disabled = connection !== "online";
  }

  translate() {
    this.showConnection();
    this.showPeople();
    this.panel.show();
    const { peer } = this.thread;
    if (peer) this.thread.open(this.chat.conversation(peer), this.chat.online.has(peer));
  }

  send() {
    const text = $("text").value.trim();
    if (!text) return;
    this.chat.send(this.thread.peer, { text });
    $("text").value = "";
    grow();
  }

  async sendPhoto(file) {
    const { peer } = this.thread;
    try {
      const photo = await readPhoto(file, this.chat.client.maxPayload ?? 1_000_000);
      this.chat.send(peer, { text: "", photo });
    } catch (err) {
      if (!(err instanceof PhotoError)) throw err;
      setText($("thread-error"), t(err.message));
    }
  }
}

function enter(session) {
  room = new Room(session);
  setText($("who-name"), session.chatPath);
  show("chat");
  $("people-title").focus();
}

function logout(why = "") {
  room?.close();
  room = null;
  Session.restore()?.end();
  document.body.dataset.connection = "none";
  document.title = "Hey Manito!";
  $("banner").hidden = true;
  show("login");
  setText($("login-error"), why);
  $("name").focus();
}

function show(view) {
  $("login").hidden = view !== "login";
  $("chat").hidden = view !== "chat";
  $("who").hidden = $("logout").hidden = view !== "chat";
}

/** The text field is as high as its text, up to a point. */
function grow() {
  const text = $("text");
  text.style.height = "auto";
  text.style.height = `${text.scrollHeight + 2}px`;
}

$("language").addEventListener("click", () => {
  switchLanguage();
  translateAll();
});

function translateAll() {
  translate();
  setText($("language"), t("other"));
  $("language").lang = document.documentElement.lang === "es" ? "en" : "es";
  room?.translate();
}

$("login-form").addEventListener("submit", async (e) => {
  e.preventDefault();
  setText($("login-error"), "");
  try {
    enter(await Session.login($("name").value));
  } catch (err) {
    if (!(err instanceof LoginError)) throw err;
    setText($("login-error"), t({ name: "loginName", invisible: "loginInvisible" }[err.code] ?? "loginFailed"));
  }
});

$("logout").addEventListener("click", () => logout());
$("back").addEventListener("click", () => room.back());
$("ring-audio").addEventListener("click", () => room.calls.dial(room.thread.peer, "audio"));
$("ring-video").addEventListener("click", () => room.calls.dial(room.thread.peer, "video"));

$("composer").addEventListener("submit", (e) => {
  e.preventDefault();
  room.send();
});
$("text").addEventListener("keydown", (e) => {
  if (e.key !== "Enter" || e.shiftKey || e.isComposing) return;
  e.preventDefault();
  room.send();
});
$("text").addEventListener("input", () => {
  grow();
  setText($("thread-error"), "");
  if ($("text").value) room.chat.typing(room.thread.peer);
});
$("photo").addEventListener("click", () => $("photo-file").click());
$("photo-file").addEventListener("change", (e) => {
  const [file] = e.target.files;
  e.target.value = "";
  setText($("thread-error"), "");
  if (file) room.sendPhoto(file);
});

addEventListener("keydown", (e) => {
  if (e.key === "Escape" && room?.thread.peer) room.back();
});
addEventListener("visibilitychange", () => room?.look());
addEventListener("pagehide", () => {
  room?.calls.leave();
  room?.chat.save();
});

translateAll();
try {
  const [{ io }, { Client }] = await Promise.all([import("/client/socket.io.esm.min.js"), import("/client/heymanito/core.js")]);
  open = (options) => new Client(io, options);
} catch {
  setText($("banner"), t("noClient"));
  $("banner").hidden = false;
}
if (open) {
  const session = Session.restore();
  if (session) enter(session);
  else {
    show("login");
    $("name").focus();
  }
}
