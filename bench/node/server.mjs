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

/** The contacts of a user: half of them on either side. */
function ring(user) {
  const i = Number(user.slice(1));
  const all = [];
  for (let d = 1; d <= contacts / 2; d++) all.push(`u${(i + d) % users}`, `u${(i - d + users) % users}`);
  return all;
}

const http = flags["tls-cert"]
  ? createSecureServer({ cert: readFileSync(flags["tls-cert"]), key: readFileSync(flags["tls-key"]) })
  : createServer();
const io = new Server(http);

/** chatPath → the socket ids of the user's devices, the newest last. */
const online = new Map();

const newest = (ids) => ids[ids.length - 1];

function snapshot(chatPath) {
  if (contacts < 0) return Object.fromEntries(Array.from(online, ([user, ids]) => [user, newest(ids)]));
  const seen = { [chatPath]: newest(online.get(chatPath)) };
  for (const user of ring(chatPath)) if (online.has(user)) seen[user] = newest(online.get(user));
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
  socket.join(chatPath);
  const ids = online.get(chatPath) ?? [];
  online.set(chatPath, [...ids, socket.id]);
  socket.emit("online_users", snapshot(chatPath));
  if (ids.length === 0) tell(socket, chatPath, "contact_online");

  socket.on("sendMessage", ({ id, senderChatPath, recipientChatPath, content, senderProfile }, ack) => {
    if (senderChatPath !== chatPath) return ack?.({ status: "error", code: "identity_mismatch" });
    const ts = Date.now();
    const message = { id, senderChatPath, recipientChatPath, content, senderProfile, ts };
    io.to(recipientChatPath).emit("receiveMessage", message);
    if (online.get(chatPath)?.length > 1) socket.to(chatPath).emit("messageSent", message);
    ack?.({ status: "ok", id, ts, delivery: online.has(recipientChatPath) ? "sent" : "offline" });
  });
  socket.on("markAsRead", ({ senderChatPath, upToId }, ack) => {
    io.to(senderChatPath).emit("messagesRead", { senderChatPath: chatPath, upToId, ts: Date.now() });
    ack?.({ status: "ok" });
  });
  socket.on("markAsDelivered", ({ senderChatPath, upToId }, ack) => {
    io.to(senderChatPath).emit("messagesDelivered", { senderChatPath: chatPath, upToId, ts: Date.now() });
    ack?.({ status: "ok" });
  });
  socket.on("initiateCall", ({ recipientId, callerInfo, roomName }, ack) => {
    io.to(recipientId).emit("incomingCall", { roomName, callerId: chatPath, callerInfo });
    ack?.({ status: "ok", roomName });
  });
  socket.on("acceptCall", ({ callerId, roomName }, ack) => {
    io.to(callerId).emit("callAccepted", { roomName, recipientId: chatPath });
    ack?.({ status: "ok", roomName });
  });
  socket.on("rejectCall", ({ callerId }, ack) => {
    io.to(callerId).emit("callRejected", { recipientId: chatPath });
    ack?.({ status: "ok" });
  });
  socket.on("disconnect", () => {
    const left = online.get(chatPath).filter((id) => id !== socket.id);
    if (left.length > 0) return online.set(chatPath, left);
    online.delete(chatPath);
    tell(socket, chatPath, "contact_offline");
  });
});

const [host, port] = flags.addr.split(":");
http.listen({ host, port: Number(port), backlog: 4096 }, () => console.log(`listening on ${host}:${http.address().port}`));
