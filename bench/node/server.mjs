// The app's server as it is today: the lines marked S of PROTOCOL.md on Node's
// socket.io, as its authors would write it, and no slower than it has to be.
import { readFileSync } from "node:fs";
import { createServer } from "node:http";
import { createServer as createSecureServer } from "node:https";
import { parseArgs } from "node:util";
import { Server } from "socket.io";

const { values: flags } = parseArgs({
  args: process.argv.slice(2).map((a) => a.replace(/^-(?=[a-z])/, "--")), // as Go's flags
  options: {
    addr: { type: "string", default: "127.0.0.1:0" },
    "tls-cert": { type: "string" },
    "tls-key": { type: "string" },
    contacts: { type: "string", default: "-1" }, // how many each user has; -1: everybody is everybody's
    users: { type: "string", default: "0" }, // how many there are, u0 and so on: their contacts are next to them, in a ring
  },
});
const contacts = Number(flags.contacts);
const users = Number(flags.users);
if (contacts > 0 && contacts >= users) throw new Error("-contacts has to be less than -users");

/** The contacts of a user: half of them on either side. */
function ring(user) {
  const i = Number(user.slice(1));
  const all = [];
  for (let d = 1; d <= contacts / 2; d++) all.push(`u${(i + d) % users}`, `u${(i - d + users) % users}`);
  return all;
}

// Without a handler, what asks for anything but /socket.io/ would wait for ever.
const notFound = (_, res) => res.writeHead(404).end();
const http = flags["tls-cert"]
  ? createSecureServer({ cert: readFileSync(flags["tls-cert"]), key: readFileSync(flags["tls-key"]) }, notFound)
  : createServer(notFound);
const io = new Server(http);

/** chatPath → the socket ids of the user's devices, the newest last. */
const online = new Map();

/** chatPath → the newest of them: online_users as it is sent, as making it anew for each newcomer costs more than sending it. */
const newest = Object.create(null);

function snapshot(chatPath) {
  if (contacts < 0) return newest;
  const seen = { [chatPath]: newest[chatPath] };
  for (const user of ring(chatPath)) if (user in newest) seen[user] = newest[user];
  return seen;
}

/** Tells those who are to know that somebody has come or gone. */
function tell(socket, chatPath, event) {
  if (contacts < 0) return socket.broadcast.emit(event, chatPath);
  const circle = ring(chatPath);
  if (circle.length > 0) socket.to(circle).emit(event, chatPath);
}

io.on("connection", (socket) => {
  const chatPath = socket.handshake.query.userId;
  if (!chatPath) return socket.disconnect(true);
  socket.conn.request = null; // nobody asks for it again, and it would stay in memory
  socket.join(chatPath);
  const ids = online.get(chatPath) ?? [];
  online.set(chatPath, [...ids, socket.id]);
  newest[chatPath] = socket.id;
  socket.emit("online_users", snapshot(chatPath));
  if (ids.length === 0) tell(socket, chatPath, "contact_online");

  // No payload and no callback are a client's mistake, and must not end the process.
  const on = (event, handle) => socket.on(event, (m, ack) => handle(m ?? {}, typeof ack === "function" ? ack : () => {}));
  on("sendMessage", ({ id, senderChatPath, recipientChatPath, content, senderProfile }, ack) => {
    if (senderChatPath !== chatPath) return ack({ status: "error", code: "identity_mismatch" });
    const ts = Date.now();
    const message = { id, senderChatPath, recipientChatPath, content, senderProfile, ts };
    io.to(recipientChatPath).emit("receiveMessage", message);
    if (online.get(chatPath)?.length > 1) socket.to(chatPath).emit("messageSent", message);
    ack({ status: "ok", id, ts, delivery: online.has(recipientChatPath) ? "sent" : "offline" });
  });
  on("markAsRead", ({ senderChatPath, upToId }, ack) => {
    io.to(senderChatPath).emit("messagesRead", { senderChatPath: chatPath, upToId, ts: Date.now() });
    ack({ status: "ok" });
  });
  on("markAsDelivered", ({ senderChatPath, upToId }, ack) => {
    io.to(senderChatPath).emit("messagesDelivered", { senderChatPath: chatPath, upToId, ts: Date.now() });
    ack({ status: "ok" });
  });
  on("initiateCall", ({ recipientId, callerInfo, roomName }, ack) => {
    io.to(recipientId).emit("incomingCall", { roomName, callerId: chatPath, callerInfo });
    ack({ status: "ok", roomName });
  });
  on("acceptCall", ({ callerId, roomName }, ack) => {
    io.to(callerId).emit("callAccepted", { roomName, recipientId: chatPath });
    ack({ status: "ok", roomName });
  });
  on("rejectCall", ({ callerId }, ack) => {
    io.to(callerId).emit("callRejected", { recipientId: chatPath });
    ack({ status: "ok" });
  });
  socket.on("disconnect", () => {
    const left = online.get(chatPath).filter((id) => id !== socket.id);
    if (left.length > 0) {
      online.set(chatPath, left);
      newest[chatPath] = left.at(-1);
      return;
    }
    online.delete(chatPath);
    delete newest[chatPath];
    tell(socket, chatPath, "contact_offline");
  });
});

const [host, port] = flags.addr.split(":");
http.listen({ host, port: Number(port), backlog: 4096 }, () => console.log(`listening on ${host}:${http.address().port}`));
