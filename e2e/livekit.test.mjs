// Calls that are heard and seen: three browsers, the example, and the real
// LiveKit server that it starts beside it. LIVEKIT_BIN is that server. All of
// it runs in a network namespace with nothing but loopback (.ci/loopback), so
// that no packet can leave the machine, and Chromium's camera is a made-up one.
import assert from "node:assert/strict";
import { readFile, readdir } from "node:fs/promises";
import { networkInterfaces } from "node:os";
import { after, before, describe, test } from "node:test";
import { fileURLToPath } from "node:url";
import { launch, Person, startServer, until } from "./person.mjs";

const MEDIA = [
  "--use-fake-device-for-media-stream", "--use-fake-ui-for-media-stream",
  "--allow-loopback-in-peer-connection", "--autoplay-policy=no-user-gesture-required",
];
const CLIENT = fileURLToPath(new URL("../example/node_modules/livekit-client/dist", import.meta.url));
const SLOW = 60_000; // three browsers encode and decode on whatever cores there are

let browser;
before(async () => {
  assert.ok(process.env.LIVEKIT_BIN, "LIVEKIT_BIN must be the LiveKit server: make setup-livekit builds it");
  assert.deepEqual(Object.keys(networkInterfaces()), ["lo"], "run it by .ci/loopback");
  browser = await launch(...MEDIA);
});
after(() => browser?.close());

/** Somebody whose connections can be looked into. */
async function come(server, name, options) {
  const p = await Person.come(browser, server.url, name, options);
  await p.page.addInitScript(() => {
    window.peers = [];
    window.RTCPeerConnection = class extends RTCPeerConnection {
      constructor(...args) {
        super(...args);
        window.peers.push(this);
      }
    };
  });
  await p.page.reload();
  return p.login();
}

/** How many frames of the picture on its stage a page has decoded. */
function frames(person) {
  return person.page.evaluate(async () => {
    const [track] = document.querySelector("#stage video.picture")?.srcObject.getVideoTracks() ?? [];
    if (!track) return 0;
    for (const peer of window.peers) {
      if (!peer.getReceivers().some((r) => r.track === track)) continue;
      for (const stats of (await peer.getStats(track)).values()) if (stats.type === "inbound-rtp") return stats.framesDecoded;
    }
    return 0;
  });
}

/** Waits until pictures are coming: twenty more than there were, and on the screen. */
async function sees(person) {
  const begin = await until(`${person.name} sees the first picture`, () => frames(person), SLOW);
  await until(`${person.name} sees more`, async () => (await frames(person)) >= begin + 20, SLOW);
  await until("the other one is shown, and oneself", async () => (await person.$("#stage video").count()) === 2, SLOW);
  const shown = () => person.page.evaluate(() => document.querySelector("#stage video.picture").getVideoPlaybackQuality().totalVideoFrames);
  const before = await shown();
  await until(`${person.name}'s screen shows it`, async () => (await shown()) > before, SLOW);
}

/** Waits until the note under the call's title says so. */
function notes(person, text) {
  return person.$("#call .note").getByText(text, { exact: true }).waitFor({ timeout: SLOW });
}

/** What Linux says of a process: [state, parent, …], or nothing if there is none. */
async function status(pid) {
  const stat = await readFile(`/proc/${pid}/stat`, "utf8").catch(() => "");
  return stat.replace(/^.*\) /, "").split(" ");
}

/** The LiveKit that a server has started. */
async function livekitOf(pid) {
  for (const dir of await readdir("/proc")) {
    if (/^\d+$/.test(dir) && (await status(dir))[1] === String(pid)) return Number(dir);
  }
  return null;
}

const runs = async (pid) => !["", "Z"].includes((await status(pid))[0]);

/** Runs body with a server of its own, ana, and luis at his phone and his laptop. */
async function stage(flags, body) {
  const media = ["-livekit-server", process.env.LIVEKIT_BIN, "-livekit-client", CLIENT];
  const server = await startServer(["-drain", "0s", "-offline-grace", "1m", ...flags], { media });
  const people = [];
  try {
    const livekit = await livekitOf(server.pid);
    assert.ok(livekit, "LiveKit runs beside the server");
    const ana = await come(server, "ana");
    const phone = await come(server, "luis", { viewport: { width: 360, height: 720 } });
    const laptop = await come(server, "luis");
    people.push(ana, phone, laptop);
    await ana.sees("luis");
    await ana.open("luis");
    await body({ server, livekit, ana, phone, laptop, people });
    for (const p of people) p.well();
    await server.stop();
    assert.equal(await runs(livekit), false, "LiveKit ends with the server");
  } catch (err) {
    for (const p of people) {
      if (p.page.isClosed()) continue;
      await p.picture(`failed-call-${people.indexOf(p)}`).catch(() => {});
      if (p.errors.length) err.message += `\n${p.name}'s browser: ${p.errors.join("\n")}`;
    }
    console.error(server.log()); // what the example says is half of the story
    throw err;
  } finally {
    for (const p of people) await p.context.close();
    server.kill();
  }
}

/** ana calls, luis answers at his phone. */
async function talking({ ana, phone }, button = "Videollamada") {
  await ana.press(button);
  await phone.press("Aceptar");
  await ana.call("active", "En llamada con luis");
  await phone.call("active", "En llamada con ana");
}

describe("calls through LiveKit", { timeout: 600_000 }, () => {
  test("the laptop stops ringing when the phone answers, both see each other, and hanging up ends it", () =>
    stage([], async (s) => {
      const { ana, phone, laptop } = s;
      await ana.press("Videollamada");
      for (const p of [phone, laptop]) await p.call("incoming", "ana te hace una videollamada");
      await notes(ana, "Está sonando");
      await phone.press("Aceptar");
      await laptop.call("over", "Contestada en otro dispositivo");
      await sees(ana);
      await sees(phone);
      assert.equal(await ana.$("#call .note").count(), 0); // nothing is wrong
      assert.equal(await laptop.$("#stage").isVisible(), false);
      await ana.picture("call-caller");
      await phone.picture("call-phone");
      await laptop.picture("call-laptop");
      await ana.press("English");
      await ana.call("active", "In a call with luis");
      await ana.press("Español");
      await sees(ana); // still
      await phone.press("Colgar");
      for (const p of [ana, phone]) {
        await p.call("over", "Llamada terminada");
        assert.equal(await p.$("#stage video").count(), 0);
        await notes(p, /^Ha durado 0:\d\d$/);
      }
      assert.equal(await laptop.$("#call").getAttribute("data-state") === "active", false);

      await talking(s, "Llamar"); // sound alone
      await ana.$('body[data-media="talking"]').waitFor({ timeout: SLOW });
      await phone.$('body[data-media="talking"]').waitFor({ timeout: SLOW });
      for (const p of [ana, phone]) {
        assert.equal(await p.$("#stage video").count(), 0);
        assert.equal(await p.$("#stage audio.voice").count(), 1);
      }
      await ana.press("Colgar");
      await phone.call("over", "Llamada terminada");
    }));

  test("a page that has crashed is back in its call", () =>
    stage([], async (s) => {
      const { ana, phone } = s;
      // A crash leaves no time for the last word that a page has otherwise.
      await phone.page.addInitScript(() => addEventListener("pagehide", (e) => e.stopImmediatePropagation(), { capture: true }));
      await phone.page.reload();
      await phone.connected();
      await talking(s);
      await sees(ana);
      await phone.page.reload();
      await phone.connected();
      await phone.call("active", "En llamada con ana");
      await sees(phone);
      await sees(ana);
      await ana.press("Colgar");
      await phone.call("over", "Llamada terminada");
    }));

  test("who may not use his microphone is told, and the other one that he is there", () =>
    stage([], async (s) => {
      const { ana, phone } = s;
      const deny = (p) => p.page.evaluate(() => {
        navigator.mediaDevices.getUserMedia = () => Promise.reject(new DOMException("denied", "NotAllowedError"));
      });
      await deny(phone);
      await talking(s);
      await notes(ana, "Aún no llega sonido ni imagen de luis.");
      await notes(phone, /^No se te oye/);
      await ana.press("Colgar");
      await phone.call("over", "Llamada terminada");
      await deny(ana);
      await talking(s, "Llamar");
      for (const p of [ana, phone]) await notes(p, /^No se te oye/);
      await ana.press("Colgar");
    }));

  test("a microphone that is allowed when the call is over stays off", () =>
    stage([], async (s) => {
      const { ana, phone } = s;
      await phone.page.evaluate(() => {
        const devices = navigator.mediaDevices;
        const get = devices.getUserMedia.bind(devices);
        window.given = [];
        const allowed = new Promise((allow) => (window.allow = allow));
        devices.getUserMedia = async (what) => {
          window.asked = [...(window.asked ?? []), what];
          await allowed;
          const stream = await get(what);
          window.given.push(...stream.getTracks());
          return stream;
        };
      });
      await talking(s);
      await until("the phone asks for a microphone", () => phone.page.evaluate(() => window.asked), SLOW);
      await phone.press("Colgar");
      await ana.call("over", "Llamada terminada");
      await phone.page.evaluate(() => window.allow());
      // LiveKit's client itself would wait 15 s for the room, with the microphone on.
      await until("the microphone is off again", () =>
        phone.page.evaluate(() => window.given.length > 0 && window.given.every((track) => track.readyState === "ended")), 10_000);
      assert.equal(await phone.page.evaluate(() => window.asked.length), 1, "nobody is asked for a camera");
    }));

  test("when both tabs are killed the call is over, as LiveKit says", () =>
    stage(["-peer-return", "3s"], async (s) => {
      const { ana, phone, laptop, server } = s;
      await talking(s);
      await sees(ana);
      const ended = () => /msg="a call has ended".*/.exec(server.log())?.[0];
      assert.equal(ended(), undefined);
      for (const p of [ana, phone]) await kill(p);
      const line = await until("the call has ended", ended, 2 * SLOW);
      assert.match(line, /reason=(left|room_finished)/);
      // luis can be called again.
      const eva = await come(server, "eva");
      s.people.push(eva);
      await eva.open("luis");
      await eva.press("Llamar");
      await laptop.call("incoming", "eva te llama");
      await eva.press("Cancelar");
      await laptop.call("over", "Llamada perdida de eva");
    }));

  test("when LiveKit has died the page says so, and who hangs up has hung up", () =>
    stage([], async (s) => {
      const { ana, phone, livekit } = s;
      await talking(s);
      await sees(ana);
      for (const p of [ana, phone]) p.forgiven = /./; // of LiveKit's client, which has lost its server
      process.kill(livekit, "SIGKILL");
      for (const p of [ana, phone]) await notes(p, "Sin sonido ni imagen. Volviendo a intentarlo…");
      await ana.press("Colgar");
      for (const p of [ana, phone]) await p.call("over", "Llamada terminada");
    }));

  test("when the server is killed LiveKit ends with it", async () => {
    const server = await startServer([], { media: ["-livekit-server", process.env.LIVEKIT_BIN] });
    const livekit = await livekitOf(server.pid);
    assert.ok(livekit, "LiveKit runs beside the server");
    await server.stop("SIGKILL");
    await until("LiveKit has ended", async () => !(await runs(livekit)));
  });
});

/** Kills a tab's process: it says nothing to anybody. */
async function kill(person) {
  const gone = new Promise((done) => person.page.once("crash", done));
  person.page.goto("chrome://crash").catch(() => {});
  await gone;
}
