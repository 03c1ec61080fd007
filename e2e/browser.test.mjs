// The example as people meet it: two browsers, a login, and what each sees of
// the other. Its calls are signalling alone; livekit.test.mjs has the others.
import assert from "node:assert/strict";
import { mkdtemp, rmdir } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { after, before, describe, test } from "node:test";
import { io } from "socket.io-client";
import { link, scratch } from "./lib.mjs";
import { DEADLINE, launch, Person, running, startServer, until } from "./person.mjs";

const PATIENT = ["-offline-grace", "1m"]; // nobody is gone because the machine is slow
const DATA = scratch();
// What a browser says of a server that is not there, in its many words; and of
// the poll that overtakes the close of its session, when the old token has been
// refused.
const CUT_OFF = /net::ERR_|WebSocket connection to .* failed|status of 400 .*\/socket\.io\/.*&sid=/;

let browser;
before(async () => {
  browser = await launch();
});
after(() => browser?.close());

/** Runs body with a server of its own and somebody at each of these names, logged in. */
async function stage(flags, names, body, options) {
  const server = await startServer(["-drain", "0s", ...flags]);
  const people = [];
  try {
    for (const name of names) people.push(await (await Person.come(browser, server.url, name, options)).login());
    for (const p of people) for (const other of names) if (other !== p.name) await p.sees(other);
    await body({ server, ...Object.fromEntries(people.map((p) => [p.name, p])) });
    for (const p of people) p.well();
    await server.stop();
  } catch (err) {
    for (const p of people) {
      await p.picture(`failed-${p.name}`).catch(() => {});
      if (p.errors.length) err.message += `\n${p.name}'s browser: ${p.errors.join("\n")}`;
    }
    throw err;
  } finally {
    for (const p of people) await p.context.close();
    for (const child of running) child.kill("SIGKILL");
  }
}

const couple = (flags, body, options) => () => stage(flags, ["ana", "luis"], body, options);

/** Both have the other's conversation open. */
async function facing({ ana, luis }) {
  await ana.open("luis");
  await luis.open("ana");
}

/** A stock client, logged in, that remembers what it is told: events are [name, payload]. */
async function stock(server, name) {
  const login = await fetch(`${server.url}/login`, { method: "POST", body: JSON.stringify({ name }) });
  const { token } = await login.json();
  const client = io(server.url, { query: { userId: name }, auth: { token }, transports: ["websocket"], forceNew: true });
  client.events = [];
  client.onAny((...event) => client.events.push(event));
  await until(`${name} is connected`, () => client.connected);
  return client;
}

/** Both talk. */
async function talking(caller, callee) {
  await caller.press("Llamar");
  await callee.press("Aceptar");
  await callee.call("active", `En llamada con ${caller.name}`);
  await caller.call("active", `En llamada con ${callee.name}`);
}

/** A PNG, drawn in the browser. */
async function png(person, width, height) {
  const base64 = await person.page.evaluate(
    ([width, height]) => {
      const canvas = document.createElement("canvas");
      canvas.width = width;
      canvas.height = height;
      const c = canvas.getContext("2d");
      const sky = c.createLinearGradient(0, 0, 0, height);
      sky.addColorStop(0, "#1b5fa8");
      sky.addColorStop(0.7, "#f5b971");
      c.fillStyle = sky;
      c.fillRect(0, 0, width, height);
      c.fillStyle = "#ff0000";
      c.fillRect(0, 0, width / 8, height / 8);
      c.fillStyle = "#22443a";
      c.beginPath();
      c.moveTo(0, height);
      c.lineTo(width * 0.35, height * 0.45);
      c.lineTo(width * 0.6, height * 0.8);
      c.lineTo(width * 0.8, height * 0.6);
      c.lineTo(width, height);
      c.fill();
      return canvas.toDataURL("image/png").split(",")[1];
    },
    [width, height],
  );
  return { name: "monte.png", mimeType: "image/png", buffer: Buffer.from(base64, "base64") };
}

/** The size of the last photo on the screen and the colour of its corner, once it is there. */
function photo(person) {
  return until(`a photo at ${person.name}'s`, () =>
    person.page.evaluate(() => {
      const img = [...document.querySelectorAll("#messages img")].at(-1);
      if (!img?.complete || !img.naturalWidth) return null;
      const canvas = document.createElement("canvas");
      canvas.width = canvas.height = 1;
      const c = canvas.getContext("2d", { willReadFrequently: true });
      c.drawImage(img, 0, 0, 4, 4, 0, 0, 1, 1);
      return { width: img.naturalWidth, height: img.naturalHeight, corner: [...c.getImageData(0, 0, 1, 1).data] };
    }),
  );
}

describe("the example in a browser", { timeout: 600_000 }, () => {
  test("each sees the other come, both chat, and the ticks turn", couple(PATIENT, async ({ ana, luis }) => {
    await ana.open("luis");
    await ana.write("hola luis");
    await luis.line("ana").getByText("hola luis").waitFor();
    await luis.$("#people .unread").getByText("1", { exact: true }).waitFor();
    await ana.gets("hola luis", "delivered");
    assert.match(await luis.page.title(), /^\(1\) /);
    await luis.open("ana");
    await luis.gets("hola luis");
    await ana.gets("hola luis", "read");
    assert.equal(await ana.message("hola luis").locator(".tick").getAttribute("title"), "Leído");
    assert.equal(await luis.page.title(), "Hey Manito!");
    await luis.write("¿qué tal?\n ¿todo bien?");
    await ana.gets("¿qué tal? ¿todo bien?");
    await luis.gets("¿qué tal? ¿todo bien?", "read");
    await luis.$("#said").getByText("ana: hola luis").waitFor({ state: "attached" });
  }));

  test("typing is seen, and passes", couple(PATIENT, async (s) => {
    await facing(s);
    await s.luis.page.getByLabel("Escribe un mensaje").pressSequentially("mmm");
    await s.ana.$("#peer-state").getByText("está escribiendo…").waitFor();
    await s.ana.line("luis").getByText("está escribiendo…").waitFor();
    await s.ana.$("#peer-state").getByText("en línea").waitFor();
  }));

  test("a reload of one page is no news to the other, and keeps login and messages", couple(PATIENT, async (s) => {
    const { ana, luis } = s;
    await facing(s);
    await ana.write("antes");
    await ana.gets("antes", "read");
    await luis.page.evaluate(() => {
      window.news = [];
      new MutationObserver((records) => {
        for (const r of records) window.news.push(`${r.type} ${r.attributeName ?? ""} ${r.target.outerHTML.slice(0, 200)}`);
      }).observe(document.getElementById("people"), { childList: true, attributes: true, subtree: false });
      for (const li of document.querySelectorAll("#people li")) {
        new MutationObserver((records) => {
          for (const r of records) window.news.push(`${r.attributeName} was ${r.oldValue}`);
        }).observe(li, { attributes: true, attributeFilter: ["data-online"], attributeOldValue: true });
      }
    });
    for (const text of ["después", "y otra vez"]) {
      await ana.page.reload();
      await ana.connected();
      await ana.sees("luis");
      await ana.open("luis");
      await ana.gets("antes", "read");
      await ana.write(text);
      await luis.gets(text); // whatever came before it has been seen, too
      await ana.gets(text, "read");
    }
    assert.deepEqual(await luis.page.evaluate(() => window.news), []);
  }));

  test("who closes the tab is gone after the grace; what is written meanwhile waits for him", couple(["-offline-grace", "300ms"], async (s) => {
    const { ana, luis, server } = s;
    await facing(s);
    await ana.write("hola");
    await ana.gets("hola", "read");
    await luis.page.close();
    await ana.sees("luis", false);
    await ana.$("#peer-state").getByText("desconectado").waitFor();
    await ana.write("¿estás?");
    await ana.gets("¿estás?", "queued");
    await ana.message("¿estás?").locator(".why").getByText("En su buzón").waitFor();
    assert.equal(await ana.message("¿estás?").locator(".i-tray").count(), 1);
    await ana.press("Llamar");
    await ana.call("over", "luis no está en línea");
    await ana.picture("desktop-offline");
    const back = await (await Person.come(browser, server.url, "luis")).login();
    await back.line("ana").getByText("Llamada perdida de ana").waitFor(); // before ana says or does anything
    await ana.gets("¿estás?", "delivered");
    assert.equal(await ana.message("¿estás?").locator(".why").count(), 0);
    await back.open("ana");
    await back.gets("¿estás?");
    assert.equal(await back.$("#messages").getByText("Llamada perdida de ana").count(), 1);
    await ana.gets("¿estás?", "read");
    assert.equal(await back.message("¿estás?").count(), 1);
    assert.equal(await back.message("hola").count(), 1); // it is kept for all his devices
    back.well();
    await back.context.close();
  }));

  test("no message overtakes one that waits", couple(PATIENT, async ({ ana, luis, server }) => {
    await ana.open("luis");
    await luis.page.goto("about:blank"); // online without a device
    await ana.write("uno");
    await ana.gets("uno", "queued");
    await ana.write("dos");
    await ana.gets("dos", "queued");
    const app = await stock(server, "luis");
    try {
      await ana.write("tres");
      const got = await until("luis has them", () => {
        const messages = app.events.filter(([name]) => name === "receiveMessage").map(([, m]) => m);
        return messages.length >= 3 && messages;
      });
      assert.deepEqual(got.map((m) => m.content.text), ["uno", "dos", "tres"]);
      app.emit("markAsRead", { senderChatPath: "ana", recipientChatPath: "luis", upToId: got[1].id });
      await ana.gets("uno", "read");
      await ana.gets("dos", "read");
      await ana.gets("tres", "delivered");
    } finally {
      app.disconnect();
    }
  }));

  test("a message that was refused says so, whatever is read later", couple(PATIENT, async (s) => {
    const { ana } = s;
    await facing(s);
    await ana.write("\u0085"); // nothing, for the host
    const refused = ana.$('#messages li[data-status="failed"]');
    await refused.getByText("Mensaje vacío").waitFor();
    for (const text of ["después", "y más"]) {
      await ana.write(text);
      await ana.gets(text, "read");
    }
    await refused.locator(".why").getByText("No se pudo enviar (invalid)").waitFor();
  }));

  test("whatever is answered when, messages keep their order, and ticks are true", () =>
    stage(PATIENT, [], async ({ server }) => {
      const ana = await Person.come(browser, server.url, "ana");
      // The page's own code, and a server whose every answer is in this hand.
      const [story, last, ids] = await ana.page.evaluate(async () => {
        const { Chat } = await import("/js/chat.js");
        const { Client } = await import("/client/heymanito/core.js");
        const on = {};
        const sent = [];
        const socket = {
          on: (name, f) => (on[name] = f),
          connect() {},
          disconnect() {},
          timeout: () => ({ emit: (name, m, answer) => sent.push({ ...m, answer }) }),
        };
        const chat = new Chat((options) => new Client(() => socket, options), { chatPath: "ana" });
        const { messages } = chat.conversation("luis");
        const [said, then] = [[], (text) => said.push(`${text}: ${chat.conversation("luis").messages.map((m) => `${m.content.text} ${m.status}`).join(", ")}`)];
        const answer = (err, ack) => sent.at(-1).answer(err, { id: sent.at(-1).id, ts: 1, ...ack });
        on.connect();
        for (const text of ["A", "B", "C", "D"]) chat.send("luis", { text });
        const [a, , c] = messages;
        then("none is answered");
        answer(null, { status: "error", code: "forbidden", retryable: false });
        answer(null, { status: "ok", delivery: "sent" });
        then("A is refused, B is there");
        on.messagesRead({ senderChatPath: "luis", upToId: sent[1].id });
        on.messagesDelivered({ senderChatPath: "luis", upToId: sent[1].id });
        then("B is read");
        on.messagesDelivered({ senderChatPath: "luis", upToId: c.id });
        then("the receipt of C is faster than its answer");
        answer(null, { status: "ok", delivery: "queued" });
        then("the answer comes, D is on its way");
        chat.retry("luis", a);
        answer(new Error("the connection broke"));
        on.messagesRead({ senderChatPath: "luis", upToId: c.id });
        then("D goes again, C is read");
        answer(null, { status: "ok", delivery: "queued", duplicate: true });
        then("D is kept for him, and A goes again");
        on.messagesRead({ senderChatPath: "luis" });
        then("what is on its way is not read");
        answer(null, { status: "ok", delivery: "offline" });
        then("A found nobody, and nothing keeps it");
        chat.retry("luis", a);
        answer(null, { status: "ok", delivery: "queued" });
        on.messagesDelivered({ senderChatPath: "luis", upToId: a.id });
        then("A is there");
        chat.close();
        return [said, sent.map((m) => m.content.text).join(" "), new Set(sent.map((m) => m.id)).size];
      });
      assert.deepEqual(story, [
        "none is answered: A pending, B pending, C pending, D pending",
        "A is refused, B is there: A failed, B sent, C pending, D pending",
        "B is read: A failed, B read, C pending, D pending",
        "the receipt of C is faster than its answer: A failed, B read, C delivered, D pending",
        "the answer comes, D is on its way: A failed, B read, C delivered, D pending",
        "D goes again, C is read: B read, C read, D pending, A pending",
        "D is kept for him, and A goes again: B read, C read, D queued, A pending",
        "what is on its way is not read: B read, C read, D read, A pending",
        "A found nobody, and nothing keeps it: B read, C read, D read, A failed",
        "A is there: B read, C read, D read, A delivered",
      ]);
      assert.equal(last, "A B C D D A A");
      assert.equal(ids, 5); // what was refused, or not answered, goes again as the same message; what found nobody as another
      await ana.context.close();
    }));

  test("the page knows its place in the inbox, and keeps it with what it has", () =>
    stage(PATIENT, [], async ({ server }) => {
      const ana = await Person.come(browser, server.url, "ana");
      const story = await ana.page.evaluate(async () => {
        const { Chat } = await import("/js/chat.js");
        const { Client } = await import("/client/heymanito/core.js");
        const begin = () => {
          const on = {};
          const sent = [];
          const socket = {
            on: (name, f) => (on[name] = f),
            connect() {},
            timeout: () => ({ emit: (name, m, answer) => sent.push({ name, m, answer }) }),
          };
          let auth;
          const io = (_, options) => ((auth = options.auth), socket);
          const chat = new Chat((options) => new Client(io, options), { chatPath: "ana", freshToken: async () => "token" });
          const place = () => new Promise((give) => auth(({ since }) => give(since.epoch ? `${since.epoch} ${since.seq}` : "nowhere")));
          const says = (seq) => on.receiveMessage({ id: `m${seq}`, senderChatPath: "luis", recipientChatPath: "ana", content: { text: "x" }, ts: 1, seq });
          return { on, sent, chat, place, says, has: () => chat.conversation("luis").messages.length };
        };
        const said = [];
        let tab = begin();
        const then = async (text) => said.push(`${text}: ${await tab.place()}, ${tab.has()} messages`);
        await then("at first");
        tab.on.connect();
        for (const seq of [4, 5]) tab.says(seq);
        await then("in a replay");
        tab.on.inboxReady({ epoch: "e", seq: 5, complete: true });
        await then("after it");
        tab.says(6);
        tab.on.messagesRead({ senderChatPath: "luis", upToId: "?", seq: 7 });
        await then("told of two things more");
        tab.on.typing({ senderChatPath: "luis", recipientChatPath: "ana", seq: 99 });
        tab.chat.send("luis", { text: "y" });
        tab.sent[0].answer(null, { status: "ok", id: tab.sent[0].m.id, ts: 1, delivery: "sent", seq: 8 });
        await then("with an ack of its own");
        tab.chat.save();
        tab.says(9);
        await then("one more, which is not kept");
        tab = begin();
        await then("after a reload");
        tab.on.connect();
        for (const seq of [8, 9, 10]) tab.says(seq);
        tab.on.inboxReady({ epoch: "e", seq: 10, complete: true });
        await then("and the rest");
        tab.on.connect();
        tab.says(11);
        await then("a replay that breaks off");
        tab.on.connect();
        tab.says(1);
        tab.on.inboxReady({ epoch: "another", seq: 1, complete: false });
        await then("another inbox");
        Storage.prototype.setItem = () => {
          throw new DOMException("full", "QuotaExceededError");
        };
        tab.chat.save();
        tab = begin();
        await then("a reload after there was no room");
        return said;
      });
      assert.deepEqual(story, [
        "at first: nowhere, 0 messages",
        "in a replay: nowhere, 2 messages",
        "after it: e 5, 2 messages",
        "told of two things more: e 7, 3 messages",
        "with an ack of its own: e 8, 4 messages",
        "one more, which is not kept: e 9, 5 messages",
        "after a reload: e 8, 4 messages",
        "and the rest: e 10, 7 messages",
        "a replay that breaks off: e 11, 8 messages",
        "another inbox: another 1, 9 messages",
        "a reload after there was no room: e 8, 4 messages",
      ]);
      await ana.context.close();
    }));

  test("who logs out is gone at once", couple(["-offline-grace", "1h"], async ({ ana, luis }) => {
    await luis.press("Salir");
    await luis.page.getByLabel("Tu nombre").waitFor();
    await ana.sees("luis", false);
    await luis.page.reload();
    await luis.page.getByLabel("Tu nombre").fill("lucas"); // the login is over
    await luis.press("Entrar");
    await ana.sees("lucas");
    await ana.sees("luis", false);
  }));

  test("emoji are emoji, and markup is text", couple(PATIENT, async (s) => {
    const { ana, luis } = s;
    await facing(s);
    const evil = `<img src=x onerror="window.pwned=1"><script>window.pwned=1</script>`;
    for (const text of ["👩‍👩‍👧‍👦🇲🇽 ¡órale! 👍🏽", evil, "\u202Eabc", "a &amp; b"]) {
      await ana.write(text);
      await luis.gets(text);
      await ana.gets(text, "read");
    }
    for (const p of [ana, luis]) {
      assert.equal(await p.$("#messages img, #messages script").count(), 0);
      assert.equal(await p.page.evaluate(() => window.pwned), undefined);
    }
  }));

  test("a name is text, too", () =>
    stage(PATIENT, ["ana", `<img src=x onerror="window.pwned=1">`], async (s) => {
      const odd = Object.values(s).find((p) => p.name?.startsWith("<"));
      await s.ana.open(odd.name);
      await s.ana.write("hola");
      await odd.open("ana");
      await odd.write("¿sí?");
      await s.ana.gets("¿sí?");
      await s.ana.press("Llamar");
      await odd.call("incoming", "ana te llama");
      assert.equal(await s.ana.page.evaluate(() => window.pwned), undefined);
    }));

  test("a photo arrives; a big one is made smaller; a file that is none is refused", couple(PATIENT, async (s) => {
    const { ana, luis } = s;
    await facing(s);
    await ana.$("#photo-file").setInputFiles(await png(ana, 480, 320));
    const got = await photo(luis);
    assert.deepEqual(got, { width: 480, height: 320, corner: [255, 0, 0, 255] });
    await until("the photo is read", () => ana.$('#messages li[data-status="read"] img').count());
    await ana.picture("desktop-photo");

    await luis.$("#photo-file").setInputFiles(await png(luis, 3000, 2400));
    const big = await until("the big photo", async () => {
      const p = await photo(ana);
      return p.width !== 480 && p;
    });
    assert.deepEqual([big.width, big.height], [1280, 1024]);
    assert.ok(big.corner[0] > 240 && big.corner[1] < 20, `red, as far as a JPEG can tell: ${big.corner}`);

    await ana.$("#photo-file").setInputFiles({ name: "foto.png", mimeType: "image/png", buffer: Buffer.from("no") });
    await ana.$("#thread-error").getByText("no es una foto").waitFor();
  }));

  test("a call is accepted, seen by both, and hung up by either", couple(PATIENT, async (s) => {
    const { ana, luis } = s;
    await facing(s);
    for (const [caller, callee, first] of [[ana, luis, ana], [luis, ana, ana], [ana, luis, luis]]) {
      await caller.press("Llamar");
      await caller.call("dialling", `Llamando a ${callee.name}…`);
      await callee.call("incoming", `${caller.name} te llama`);
      await callee.picture("desktop-incoming");
      await callee.press("Aceptar");
      await callee.call("active", `En llamada con ${caller.name}`);
      await caller.call("active", `En llamada con ${callee.name}`);
      await caller.$("#call").getByText("Esto es solo la señalización").waitFor();
      await first.press("Colgar");
      for (const p of [ana, luis]) {
        await p.call("over", "Llamada terminada");
        await p.press("Cerrar");
        await p.$("#call").waitFor({ state: "hidden" });
      }
    }
  }));

  // The first click brings the panel, with its "Cancelar" under the mouse.
  test("who double-clicks does not give up the call he has just begun", couple(PATIENT, async (s) => {
    const { ana, luis } = s;
    await facing(s);
    await ana.page.getByRole("button", { name: "Videollamada", exact: true }).dblclick();
    assert.equal(await ana.$("#call").getAttribute("data-state"), "dialling");
    await luis.call("incoming", "ana te hace una videollamada");
    await ana.press("Cancelar");
    await luis.call("over", "Llamada perdida de ana");
  }));

  test("who answers while he is cut off can hang up, and has hung up when he is back", couple(PATIENT, async (s) => {
    const { ana, luis } = s;
    await facing(s);
    await ana.press("Llamar");
    await luis.call("incoming", "ana te llama");
    luis.forgiven = /ERR_INTERNET_DISCONNECTED/;
    await luis.context.setOffline(true);
    await luis.$('body[data-connection="reconnecting"]').waitFor();
    await luis.press("Aceptar");
    await luis.call("answering", "Contestando…");
    await luis.press("Colgar");
    await luis.call("over", "Llamada terminada");
    await luis.context.setOffline(false);
    await luis.connected();
    await ana.call("over", "Llamada terminada");
  }));

  test("a call nobody answers is missed", couple([...PATIENT, "-ring-timeout", "700ms"], async (s) => {
    await facing(s);
    await s.luis.press("Llamar");
    await s.ana.call("over", "Llamada perdida de luis");
    await s.luis.call("over", "ana no contesta");
    await s.ana.$("#messages").getByText("Llamada perdida de luis").waitFor();
  }));

  test("a call is declined, given up, or finds the other one busy", couple(PATIENT, async (s) => {
    const { ana, luis, server } = s;
    await facing(s);
    await ana.press("Videollamada");
    await luis.call("incoming", "ana te hace una videollamada");
    await luis.press("Rechazar");
    await ana.call("over", "luis ha rechazado la llamada");

    await ana.press("Llamar"); // while the last one's end is still shown
    await luis.call("incoming", "ana te llama");
    await ana.press("Cancelar");
    await ana.call("over", "Has cancelado la llamada");
    await luis.call("over", "Llamada perdida de ana");

    await ana.press("Llamar");
    await luis.press("Aceptar");
    await ana.call("active", "En llamada con luis");
    const eva = await (await Person.come(browser, server.url, "eva")).login();
    await eva.open("luis");
    await eva.press("Llamar");
    await eva.call("over", "luis está en otra llamada");
    eva.well();
    await eva.context.close();
  }));

  test("whoever leaves the page hangs up", couple(PATIENT, async (s) => {
    const { ana, luis, server } = s;
    await facing(s);
    const leave = async (p) => {
      await p.upgraded();
      await p.page.reload();
      await p.connected();
    };
    await talking(ana, luis);
    await leave(luis); // who has answered
    await ana.call("over", "Llamada terminada");
    await luis.open("ana");
    await luis.$("#messages").getByText("Llamada terminada").waitFor();
    await talking(ana, luis);
    await leave(ana); // who has called
    await luis.call("over", "Llamada terminada");
    await ana.open("luis");
    await ana.press("Llamar");
    await luis.call("incoming", "ana te llama");
    await leave(ana); // while it rings
    await luis.call("over", "Llamada perdida de ana");
    await ana.open("luis");

    const tablet = await (await Person.come(browser, server.url, "luis")).login(); // luis stays online
    await ana.press("Llamar");
    await tablet.call("incoming", "ana te llama");
    await luis.press("Aceptar");
    await ana.call("active", "En llamada con luis");
    await luis.press("Salir");
    await ana.call("over", "Llamada terminada");

    await ana.press("Llamar");
    await tablet.call("incoming", "ana te llama");
    const third = await (await Person.come(browser, server.url, "luis")).login();
    await tablet.press("Salir"); // a call that only rings may be answered by another device
    third.well();
    await third.context.close();
    tablet.well();
    await tablet.context.close();
    await ana.call("dialling", "Llamando a luis…");
    await ana.press("Cancelar");

    const app = await stock(server, "app"); // knows no hang-up but callRejected
    try {
      await ana.sees("app");
      const { callId } = await app.timeout(DEADLINE).emitWithAck("initiateCall", { recipientId: "ana", callerId: "app", roomName: "r" });
      await ana.press("Aceptar");
      await ana.call("active", "En llamada con app");
      await leave(ana);
      const [, told] = await until("the app is told", () => app.events.find(([name]) => name === "callRejected"));
      assert.deepEqual([told.recipientId, told.callId], ["ana", callId]);
    } finally {
      app.disconnect();
    }
  }));

  test("a call is over when the other side has gone while one was cut off", () =>
    stage(["-offline-grace", "300ms", "-connect-timeout", "3s", "-peer-return", "1s"], ["ana"], async ({ ana, server }) => {
      const line = await link(server.addr);
      const luis = await (await Person.come(browser, line.url, "luis")).login();
      for (const p of [ana, luis]) p.forgiven = CUT_OFF;
      try {
        await facing({ ana, luis });
        await talking(ana, luis);
        line.cut();
        await ana.call("over", "luis ya no está en la llamada");
        await luis.$("#banner").getByText("Sin conexión").waitFor();
        await luis.call("active", "En llamada con ana");
        line.mend(); // the server knows of no call any more
        await luis.call("over", "Llamada terminada");

        for (const [state, ending] of [["active", "Llamada terminada"], ["incoming", "Llamada perdida de ana"]]) {
          await ana.sees("luis");
          await luis.sees("ana");
          await ana.open("luis");
          if (state === "active") await talking(ana, luis);
          else await ana.press("Llamar");
          await luis.$(`#call[data-state="${state}"]`).waitFor();
          line.cut();
          await luis.$("#banner").getByText("Sin conexión").waitFor();
          await ana.press("Salir");
          line.mend();
          await luis.call("over", ending);
          await ana.login();
        }

        await ana.sees("luis");
        await luis.sees("ana");
        await luis.press("Llamar");
        await ana.call("incoming", "luis te llama");
        line.cut();
        await luis.$("#banner").getByText("Sin conexión").waitFor();
        await ana.press("Salir");
        line.mend(); // his call rings on, wherever she comes back
        await luis.connected();
        await luis.call("dialling", "Llamando a ana…");
        await ana.login();
        await ana.call("incoming", "luis te llama");
        await ana.press("Rechazar");
        await luis.call("over", "ana ha rechazado la llamada");

        await ana.open("luis");
        await talking(luis, ana);
        line.cut(); // luis comes back later than ana
        await server.stop("SIGKILL");
        await ana.$("#banner").getByText("Sin conexión").waitFor();
        const again = await until("the server has its port back", () => startServer(["-addr", server.addr, ...PATIENT]).catch(() => null));
        server.stop = again.stop;
        await ana.call("over", "Llamada terminada");
        line.mend(); // of this call the new server knows nothing
        await luis.call("over", "Llamada terminada");
        luis.well();
      } finally {
        line.close();
        await luis.context.close();
      }
    }));

  test("both ring each other: one call", couple(PATIENT, async (s) => {
    await facing(s);
    await Promise.all([s.ana.press("Llamar"), s.luis.press("Llamar")]);
    // Whoever was slower has seen the other's call instead: then it is answered.
    await until("they talk", async () => {
      for (const p of [s.ana, s.luis]) {
        const accept = p.page.getByRole("button", { name: "Aceptar", exact: true });
        if (await accept.isVisible()) await accept.click();
      }
      const states = await Promise.all([s.ana, s.luis].map((p) => p.$("#call").getAttribute("data-state")));
      return states.every((state) => state === "active");
    });
    await s.ana.press("Colgar");
    await s.luis.call("over", "Llamada terminada");
  }));

  test("the server is killed and comes back: the pages come back by themselves", couple(PATIENT, async (s) => {
    const { ana, luis } = s;
    await facing(s);
    await ana.write("uno");
    await luis.gets("uno");
    for (const p of [ana, luis]) p.forgiven = CUT_OFF;
    await s.server.stop("SIGKILL");
    for (const p of [ana, luis]) await p.$("#banner").getByText("Sin conexión").waitFor();
    await ana.write("mientras");
    await ana.gets("mientras", "pending");
    await ana.picture("desktop-reconnecting");
    // Somebody else on this machine may have the port for a moment.
    const again = await until("the server has its port back", () => startServer(["-addr", s.server.addr, ...PATIENT]).catch(() => null));
    // Its key is a new one: the tokens of before are refused, and renewed.
    for (const p of [ana, luis]) {
      await p.connected();
      await p.$("#banner").waitFor({ state: "hidden" });
    }
    await luis.gets("mientras");
    await ana.gets("mientras", "read");
    await luis.write("dos");
    await ana.gets("dos");
    assert.equal(await luis.message("uno").count(), 1);
    for (const p of [ana, luis]) p.well();
    await again.stop();
    s.server.stop = async () => {}; // it has been
  }));

  test("what other clients send is shown as far as possible, and once", () =>
    stage(PATIENT, ["ana"], async ({ ana, server }) => {
      const app = await stock(server, "app");
      try {
        await ana.sees("app");
        const send = async (id, content) => {
          const ack = await app.timeout(DEADLINE).emitWithAck("sendMessage", { id, senderChatPath: "app", recipientChatPath: "ana", content });
          assert.equal(ack.status, "ok");
        };
        await ana.open("app");
        await send(1, "una cadena");
        await send(1, "una cadena");
        await send("1", "otra"); // the number 1 and the text "1" are two ids
        for (const content of [null, 7, [1, 2], { text: 5 }, { text: "x", photo: 3 }]) await send(`odd${JSON.stringify(content)}`, content);
        await send("svg", { photo: { type: "image/svg+xml", data: Buffer.from("<svg/>") } });
        await send("html", { photo: { type: "text/html", data: Buffer.from("<script>") } });
        await send("bad", { photo: { type: "image/png", width: 1e9, height: 1, data: Buffer.from("no") } });
        for (const content of ["", "\u200b", { text: "\u3164" }, { photo: 0 }, { text: "y", photo: 0 }]) await send(`blank${JSON.stringify(content)}`, content);
        await send("end", { text: "fin" });
        await ana.gets("fin");
        assert.equal(await ana.message("una cadena").count(), 1);
        assert.equal(await ana.message("otra").count(), 1);
        const shown = await ana.page.$$eval("#messages li", (items) =>
          items.map((li) => [...li.childNodes].filter((n) => !n.matches?.(".aside, footer")).map((n) => n.textContent).join("|")),
        );
        assert.deepEqual(shown.slice(10, 15), [
          "Mensaje vacío", "Mensaje vacío", "Mensaje vacío", "Mensaje de otro tipo", "y",
        ]);
        assert.equal(await ana.$("#messages li").count(), 16);
        await until("the photo that is none is said to be none", async () => (await ana.$("#messages img").count()) === 0);
        assert.equal(await ana.page.evaluate(() => document.documentElement.scrollWidth <= innerWidth), true);
        await send("last", "");
        await ana.line("app").locator(".last").getByText("Mensaje vacío").waitFor();
        const refused = await app.timeout(DEADLINE).emitWithAck("sendMessage", {
          id: "e", senderChatPath: "app", recipientChatPath: "ana", content: { text: "  " },
        });
        assert.equal(refused.code, "invalid"); // the host's BeforeMessage
      } finally {
        app.disconnect();
      }
    }));

  test("two tabs of one person: both have everything, one answers", couple(PATIENT, async (s) => {
    const { ana, luis, server } = s;
    const tablet = await (await Person.come(browser, server.url, "luis")).login();
    await ana.open("luis");
    await luis.open("ana");
    await luis.write("desde el primero");
    await tablet.line("ana").getByText("desde el primero").waitFor();
    await ana.write("a los dos");
    await luis.gets("a los dos");
    await tablet.open("ana");
    await tablet.gets("a los dos");
    await ana.press("Llamar");
    await tablet.call("incoming", "ana te llama");
    await luis.call("incoming", "ana te llama");
    await tablet.press("Aceptar");
    await luis.call("over", "Contestada en otro dispositivo");
    await ana.call("active", "En llamada con luis");
    await ana.press("Colgar");
    await tablet.call("over", "Llamada terminada");
    await ana.press("Llamar");
    await luis.call("incoming", "ana te llama");
    await tablet.press("Rechazar");
    await tablet.call("over", "Has rechazado la llamada");
    await luis.call("over", "Rechazada en otro dispositivo");
    await ana.call("over", "luis ha rechazado la llamada");
    await luis.page.close(); // not the last device: he stays
    await ana.write("¿sigues?");
    await tablet.gets("¿sigues?");
    await ana.sees("luis");
    tablet.well();
    await tablet.context.close();
  }));

  test("tabs of one person are in step, also one that comes later, and each shows everything once", couple(PATIENT, async ({ ana, luis, server }) => {
    const tablet = await (await Person.come(browser, server.url, "luis")).login();
    await ana.open("luis");
    await ana.write("hola");
    await ana.write("¿comemos?");
    await tablet.$("#people .unread").getByText("2", { exact: true }).waitFor();
    await luis.open("ana"); // read on one, read on both
    await tablet.$("#people .unread").waitFor({ state: "hidden" });
    assert.equal(await tablet.page.title(), "Hey Manito!");
    await luis.write("claro");
    await ana.gets("claro");
    await ana.gets("¿comemos?", "read");
    await luis.gets("claro", "read");
    await tablet.open("ana");
    await tablet.gets("claro", "read");

    const third = await (await Person.come(browser, server.url, "luis")).login();
    await third.line("ana").getByText("Tú: claro").waitFor();
    assert.equal(await third.$("#people .unread").isVisible(), false);
    await third.open("ana");
    await third.gets("claro", "read");
    const whole = ["hola", "¿comemos?", "claro"];
    const shown = (p) => p.page.$$eval("#messages li p", (all) => all.map((e) => e.textContent));
    for (const p of [luis, tablet, third]) assert.deepEqual(await shown(p), whole);

    await third.page.goto("about:blank"); // away, for a while
    await ana.write("¿a las dos?");
    await luis.gets("¿a las dos?");
    await luis.write("a las tres");
    await ana.gets("a las tres");
    await ana.write("vale");
    await luis.gets("vale");
    await ana.gets("vale", "read");
    whole.push("¿a las dos?", "a las tres", "vale");
    await third.page.goBack();
    await third.connected();
    await third.line("ana").getByText("vale").waitFor();
    await third.$("#people .unread").waitFor({ state: "hidden" });
    await third.open("ana");
    await third.gets("a las tres", "read");
    assert.deepEqual(await shown(third), whole);

    // A page that has lost its place is told everything again, and shows it once.
    await third.page.addInitScript(() => {
      const key = "heymanito.messages.luis";
      sessionStorage.setItem(key, JSON.stringify({ ...JSON.parse(sessionStorage.getItem(key)), position: {} }));
    });
    await third.page.reload();
    await third.connected();
    await third.open("ana");
    await ana.write("fin");
    await third.gets("fin");
    assert.deepEqual(await shown(third), [...whole, "fin"]);
    for (const p of [tablet, third]) {
      p.well();
      await p.context.close();
    }
  }));

  test("with -data, what waits for somebody outlives the server", () =>
    stage([...PATIENT, "-data", DATA], ["ana", "luis"], async (s) => {
      const { ana, luis } = s;
      await facing(s);
      await ana.write("antes");
      await ana.gets("antes", "read");
      await luis.press("Salir");
      await ana.sees("luis", false);
      await ana.write("en tu buzón");
      await ana.$("#photo-file").setInputFiles(await png(ana, 480, 320));
      await until("both are kept", async () => (await ana.$('#messages li[data-status="queued"]').count()) === 2);
      await ana.picture("desktop-queued");
      for (const p of [ana, luis]) p.forgiven = CUT_OFF;
      await s.server.stop("SIGKILL");
      await ana.$("#banner").getByText("Sin conexión").waitFor();
      const again = await until("the server has its port back", () => startServer(["-addr", s.server.addr, ...PATIENT, "-data", DATA]).catch(() => null));
      s.server.stop = again.stop;
      await ana.connected();
      await ana.gets("en tu buzón", "queued");
      await luis.login();
      await luis.line("ana").locator(".unread").getByText("2", { exact: true }).waitFor();
      await ana.gets("en tu buzón", "delivered");
      await luis.open("ana");
      assert.deepEqual((await photo(luis)).corner, [255, 0, 0, 255]);
      await ana.gets("en tu buzón", "read");
      for (const text of ["antes", "en tu buzón"]) assert.equal(await luis.message(text).count(), 1);
    }));

  test("with -no-inbox, what finds nobody says so, and can be tried again", couple(["-no-inbox", "-offline-grace", "0s"], async (s) => {
    const { ana, luis } = s;
    await facing(s);
    await ana.write("hola");
    await ana.gets("hola", "read");
    await luis.press("Salir");
    await ana.sees("luis", false);
    await ana.write("¿estás?");
    await ana.gets("¿estás?", "failed");
    await ana.message("¿estás?").locator(".why").getByText("No está, y este servidor no guarda mensajes").waitFor();
    await luis.login();
    await ana.sees("luis");
    await luis.open("ana");
    await ana.press("Reintentar");
    await luis.gets("¿estás?");
    await ana.gets("¿estás?", "read");
  }));

  test("whoever declines a call that was answered elsewhere has not declined it", couple(PATIENT, async ({ ana, luis, server }) => {
    const other = await (await Person.come(browser, server.url, "luis")).login();
    await ana.open("luis");
    await ana.press("Llamar");
    await other.call("incoming", "ana te llama");
    // He is about to press the button, and his page hears nothing meanwhile.
    await other.page.evaluate(() => {
      setTimeout(() => {
        for (const end = Date.now() + 2_000; Date.now() < end; );
        document.querySelector("#call .danger").click();
      });
    });
    await luis.press("Aceptar");
    await ana.call("active", "En llamada con luis");
    await other.call("over", "Contestada en otro dispositivo");
    await other.open("ana");
    assert.equal(await other.$("#messages").getByText("Has rechazado").count(), 0);
    await ana.call("active", "En llamada con luis");
    other.well();
    await other.context.close();
  }));

  test("English, remembered; names that cannot be", () =>
    stage(PATIENT, [], async ({ server }) => {
      const ana = await Person.come(browser, server.url, "ana");
      await ana.page.getByLabel("Tu nombre").fill("null");
      ana.forgiven = /status of 400/; // the browser's own line about the answer
      await ana.press("Entrar");
      await ana.$("#login-error").getByText("Ese nombre no se puede usar").waitFor();
      for (const name of ["  ", "\u200b\u3164\u2800"]) {
        await ana.page.getByLabel("Tu nombre").fill(name);
        await ana.press("Entrar");
        await ana.$("#login-error").getByText("Ese nombre no se vería").waitFor();
        await ana.page.getByLabel("Tu nombre").fill("null");
        await ana.press("Entrar");
        await ana.$("#login-error").getByText("Ese nombre no se puede usar").waitFor();
      }
      await ana.press("English");
      assert.equal(await ana.$("html").getAttribute("lang"), "en");
      await ana.page.reload();
      await ana.page.getByLabel("Your name").fill("ana");
      await ana.press("Log in");
      await ana.connected();
      await ana.$("#people-empty").getByText("There is nobody else yet").waitFor();
      await ana.press("Español");
      await ana.$("#people-empty").getByText("Todavía no hay nadie más").waitFor();
      assert.equal(await ana.$("html").getAttribute("lang"), "es");
      ana.well();
      await ana.context.close();
    }));

  test("without a mouse: everything has a name and is reached by Tab", couple(PATIENT, async ({ ana, luis }) => {
    const tabTo = async (label) => {
      for (let i = 0; i < 20; i++) {
        await ana.page.keyboard.press("Tab");
        const on = await ana.page.evaluate(() => {
          const e = document.activeElement;
          return e === document.body ? "" : (e.getAttribute("aria-label") ?? e.textContent);
        });
        if (on.includes(label)) return;
      }
      assert.fail(`${label} is not reached`);
    };
    await tabTo("luis");
    await ana.page.keyboard.press("Enter");
    await ana.page.keyboard.type("con teclado"); // the focus is in the text
    await ana.page.keyboard.press("Enter");
    await luis.open("ana");
    await luis.gets("con teclado");
    await luis.press("Llamar");
    await ana.call("incoming", "luis te llama");
    await ana.page.keyboard.type("a");
    await ana.page.keyboard.press("Enter"); // sends, and does not answer
    await luis.gets("a");
    await ana.page.keyboard.press("Escape");
    await tabTo("Aceptar");
    await ana.page.keyboard.press("Enter");
    await luis.call("active", "En llamada con ana");
    await luis.press("Colgar");
    await ana.call("over", "Llamada terminada");
    await luis.press("Llamar");
    await ana.call("incoming", "luis te llama");
    await tabTo("Rechazar");
    await ana.page.keyboard.press("Enter");
    await luis.call("over", "ana ha rechazado la llamada");
    await ana.page.locator("#call button:focus").getByText("Cerrar").waitFor(); // the focus has not got lost
    const nameless = await ana.page.$$eval("button, input, textarea, img", (all) =>
      all
        .filter((e) => e.checkVisibility())
        .filter((e) => !(e.getAttribute("aria-label") || e.textContent.trim() || e.labels?.length || e.hasAttribute("alt")))
        .map((e) => e.outerHTML),
    );
    assert.deepEqual(nameless, []);
  }));

  for (const [width, colorScheme] of [[320, "light"], [360, "dark"]]) {
    test(`${width} px are enough, ${colorScheme}`, couple(PATIENT, async ({ ana, luis, server }) => {
      const fits = async (p) =>
        assert.deepEqual(
          await p.page.evaluate(() => [
            document.documentElement.scrollWidth <= innerWidth,
            [...document.querySelectorAll("button, input[type=text], textarea, h1, h2, #messages li")]
              .filter((e) => e.checkVisibility())
              .filter((e) => {
                const r = e.getBoundingClientRect();
                return r.width > 1 && (r.left < 0 || r.right > innerWidth);
              })
              .map((e) => e.outerHTML),
            [...document.querySelectorAll("h1, #who")].filter((e) => e.scrollWidth > e.clientWidth).map((e) => e.textContent),
          ]),
          [true, [], []],
        );
      const guest = await Person.come(browser, server.url, "guest", { viewport: { width, height: 640 }, colorScheme });
      await fits(guest);
      await guest.picture(`phone-${colorScheme}-login`);
      await guest.page.setViewportSize({ width: 1100, height: 720 });
      await guest.picture(`desktop-${colorScheme}-login`);
      await guest.context.close();

      await luis.open("ana");
      await luis.write("Hola, ana. ¿Vienes mañana?");
      await ana.line("luis").getByText("¿Vienes").waitFor();
      await fits(ana);
      await ana.picture(`phone-${colorScheme}-people`);
      await ana.press("English"); // has longer words
      await fits(ana);
      await ana.press("Español");
      await ana.open("luis");
      await ana.write("¡Sí! 🎉 Llevo " + "muchísimas ".repeat(12) + "ganas");
      await ana.write("https://example.com/" + "x".repeat(120));
      await ana.$("#photo-file").setInputFiles(await png(ana, 480, 320));
      await until("all is read", async () => (await ana.$('#messages li[data-status="read"]').count()) === 3);
      await photo(ana);
      await fits(ana);
      await until("the photo is wholly in sight", () =>
        ana.page.evaluate(() => {
          const list = document.getElementById("messages");
          return list.scrollHeight - list.scrollTop - list.clientHeight < 2;
        }),
      );
      await ana.picture(`phone-${colorScheme}-thread`);
      await luis.press("Videollamada");
      await ana.call("incoming", "luis te hace una videollamada");
      await fits(ana);
      await ana.picture(`phone-${colorScheme}-incoming`);
      await ana.press("Aceptar");
      await luis.call("active", "En llamada con ana");
      await fits(ana);
      await ana.picture(`phone-${colorScheme}-active`);
      await luis.page.setViewportSize({ width: 1100, height: 720 });
      await luis.picture(`desktop-${colorScheme}-active`);
      await ana.press("Colgar");
      await luis.press("Cerrar");
      await luis.picture(`desktop-${colorScheme}-thread`);
      await ana.press("Volver a la lista");
      await ana.line("luis").waitFor();
    }, { viewport: { width, height: 640 }, colorScheme }));
  }

  test("without socket.io-client the page says what to do", async () => {
    const nowhere = await mkdtemp(join(tmpdir(), "heymanito-"));
    const server = await startServer([], { client: [], cwd: nowhere });
    const ana = await Person.come(browser, server.url, "ana");
    await ana.$("#banner").getByText("make setup").waitFor();
    assert.ok(server.lines.some((line) => line.includes("make setup")), server.lines.join("\n"));
    await ana.context.close();
    await server.stop();
    await rmdir(nowhere);
  });
});
