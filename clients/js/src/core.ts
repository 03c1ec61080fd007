// All of the client but socket.io-client: for pages without a bundler, which
// have its io from elsewhere.
export { Client, type Dial } from "./client.js";
export type { Call, CallChanges, CallState, Ending, EndReason, Ticket } from "./call.js";
export { Emitter, type Handler } from "./emitter.js";
export { HeyManitoError, type ClientCode, type Code, type ServerCode } from "./errors.js";
export { newId } from "./id.js";
export { MemoryStore, type Store } from "./store.js";
export type {
  CallInfo,
  ChatPath,
  Connect,
  ConversationRead,
  Draft,
  Erased,
  Events,
  Media,
  Message,
  MessageId,
  Millis,
  MissedCall,
  Options,
  Presence,
  Ready,
  Receipt,
  Refused,
  Sending,
  Sent,
  State,
  StateChange,
  Times,
  TokenReason,
} from "./types.js";
