// The sound and the pictures of a call: its room at LiveKit, while there is one.
// LiveKit's client is big, and loaded for the first call that needs it.
import { $ } from "./ui.js";

const CAMERA = 1; // TrackSource.CAMERA in LiveKit's protocol
const PICTURE = { width: 480, height: 360 };
const RETRY = 1_000; // until a room that was lost, or not reached, is tried again

/**
 * Events: "change". state is "none" (there is no room), "joining", "waiting"
 * (for the other one), "mute" (he is there, and sends nothing), "talking",
 * "lost" (and tried again), or "failed".
 * silent says that nobody hears this side: it has no microphone, or may not
 * use it.
 */
export class Media extends EventTarget {
  state = "none";
  silent = false;
  #calls;
  #stay = null; // {callId, media, room}: the room that we are in, or about to be
  #shown = new Map(); // track → its element

  constructor(calls) {
    super();
    this.#calls = calls;
    calls.addEventListener("change", () => this.#follow());
  }

  /** Is in the room of the call that is on, and in no other. */
  #follow() {
    const { call } = this.#calls;
    const wanted = call?.state === "active" && call.token ? call.callId : undefined;
    if (this.#stay?.callId === wanted) return;
    this.leave();
    if (!wanted) return;
    this.#stay = { callId: wanted, media: call.media, room: null };
    this.#set("joining");
    this.#join(this.#stay, call);
  }

  leave() {
    const stay = this.#stay;
    this.#stay = null;
    this.silent = false;
    stay?.room?.disconnect();
    this.#show(new Map());
    this.#set("none");
  }

  async #join(stay, ticket) {
    let livekit;
    try {
      livekit = await import("/client/livekit-client.esm.mjs");
    } catch {
      if (this.#stay === stay) this.#set("failed"); // it is not installed
      return;
    }
    if (this.#stay !== stay) return;
    const room = new livekit.Room({ dynacast: true, videoCaptureDefaults: { resolution: PICTURE } });
    stay.room = room;
    this.#watch(stay, room, livekit);
    try {
      await room.connect(ticket.url, ticket.token, { rtcConfig: rtcConfig(ticket.url) });
    } catch {
      return this.#rejoin(stay, room);
    }
    if (this.#stay !== stay || stay.room !== room) return room.disconnect();
    this.#set("waiting");
    this.#look(room);
    await this.#publish(stay, room);
  }

  /** Sends what there is to send: a call goes on without a camera. */
  async #publish(stay, room) {
    const me = room.localParticipant;
    const silent = !(await this.#send(stay, room, { audio: true }));
    if (this.#stay !== stay || stay.room !== room) return;
    this.silent = silent;
    this.#set(this.state);
    // If both have called each other, one may have meant sound alone.
    const may = me.permissions?.canPublishSources ?? [];
    if (stay.media === "video" && (may.length === 0 || may.includes(CAMERA))) await this.#send(stay, room, { video: true });
  }

  /** Whether it is sent. Who is asked for a microphone may say yes when the call is over. */
  async #send(stay, room, kind) {
    const me = room.localParticipant;
    const [track] = await me.createTracks(kind).catch(() => []);
    const wanted = track && this.#stay === stay && stay.room === room;
    if (wanted && (await me.publishTrack(track).then(() => true, () => false))) return true;
    track?.stop();
    return false;
  }

  #watch(stay, room, { RoomEvent, DisconnectReason }) {
    const on = (name, f) => room.on(name, (...args) => this.#stay === stay && stay.room === room && f(...args));
    for (const name of ["TrackSubscribed", "TrackUnsubscribed", "LocalTrackPublished", "LocalTrackUnpublished", "ParticipantConnected", "ParticipantDisconnected"]) {
      on(RoomEvent[name], () => this.#look(room));
    }
    on(RoomEvent.Reconnecting, () => this.#set("lost"));
    on(RoomEvent.Reconnected, () => {
      this.#set("waiting");
      this.#look(room);
    });
    on(RoomEvent.Disconnected, (reason) => {
      this.#show(new Map());
      // Somebody has shown us out; or the connection has broken for good.
      const out = [DisconnectReason.DUPLICATE_IDENTITY, DisconnectReason.PARTICIPANT_REMOVED, DisconnectReason.ROOM_DELETED];
      if (out.includes(reason)) this.#set("failed");
      else this.#rejoin(stay, room);
    });
    // A page that nobody has touched yet may make no sound.
    on(RoomEvent.AudioPlaybackStatusChanged, () => {
      if (!room.canPlaybackAudio) addEventListener("pointerdown", () => room.startAudio(), { once: true });
    });
  }

  /** Goes on trying, with a fresh ticket each time, while the call goes on. */
  async #rejoin(stay, room) {
    if (this.#stay !== stay || stay.room !== room) return; // somebody does already, or need not
    stay.room = null;
    this.#set("lost");
    for (;;) {
      await new Promise((done) => setTimeout(done, RETRY));
      if (this.#stay !== stay) return;
      const ticket = await this.#calls.token();
      if (this.#stay !== stay) return;
      if (ticket) return this.#join(stay, ticket);
    }
  }

  /** Shows what there is in the room by now. */
  #look(room) {
    const tracks = new Map();
    for (const other of room.remoteParticipants.values()) {
      for (const { track } of other.trackPublications.values()) if (track) tracks.set(track, track.kind === "video" ? "picture" : "voice");
    }
    const state = tracks.size > 0 ? "talking" : room.remoteParticipants.size > 0 ? "mute" : "waiting";
    for (const { track } of room.localParticipant.videoTrackPublications.values()) if (track) tracks.set(track, "self");
    this.#show(tracks);
    if (!["waiting", "mute", "talking"].includes(this.state)) return;
    if (state === "talking" && this.state !== "talking") this.#calls.connected();
    this.#set(state);
  }

  /** tracks: each with the class of its element. */
  #show(tracks) {
    for (const [track, element] of this.#shown) {
      if (tracks.has(track)) continue;
      track.detach(element);
      element.remove();
      this.#shown.delete(track);
    }
    for (const [track, name] of tracks) {
      if (this.#shown.has(track)) continue;
      const element = track.attach();
      element.className = name;
      $("stage").append(element);
      this.#shown.set(track, element);
    }
    $("stage").hidden = !$("stage").querySelector("video");
  }

  #set(state) {
    this.state = state;
    this.dispatchEvent(new Event("change"));
  }
}

/** A LiveKit on this very machine needs nobody to say how it is reached. */
function rtcConfig(url) {
  return ["127.0.0.1", "localhost", "[::1]"].includes(new URL(url).hostname) ? { iceServers: [] } : {};
}
