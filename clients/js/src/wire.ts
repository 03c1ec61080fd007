// What goes over the wire, as docs/protocol.md has it. The names there are the
// app's that existed first; types.ts has those of this package.
import type { CallInfo, ChatPath, Media, MessageId } from "./types.js";

export interface WireMessage {
  id: MessageId;
  senderChatPath: ChatPath;
  recipientChatPath: ChatPath;
  content?: unknown;
  senderProfile?: unknown;
  seq?: number;
  ts: number;
}

export interface WireReceipt {
  senderChatPath: ChatPath;
  upToId?: MessageId;
  ts?: number;
  seq?: number;
}

/** The events of which each is an entry of the inbox. */
export interface Entries {
  receiveMessage: WireMessage;
  messageSent: WireMessage;
  messagesDelivered: WireReceipt;
  messagesRead: WireReceipt;
  conversationRead: { chatPath: ChatPath; upToId?: MessageId; ts?: number; seq?: number };
  missedCall: { callId: string; callerId: ChatPath; callerInfo?: unknown; ts: number; reason: string; seq?: number };
  entryErased: { erased: true; seq?: number };
}

export const ENTRIES = [
  "receiveMessage",
  "messageSent",
  "messagesDelivered",
  "messagesRead",
  "conversationRead",
  "missedCall",
  "entryErased",
] as const satisfies readonly (keyof Entries)[];

export interface InboxReady {
  epoch: string;
  seq: number;
  complete: boolean;
  now: number;
}

/** What the server says of calls. */
export interface CallEvents {
  incomingCall: {
    callId: string;
    callerId: ChatPath;
    callerInfo?: unknown;
    roomName: string;
    media?: Media;
    ts: number;
    expiresAt: number;
    expiresInMs: number;
  };
  callRinging: { callId: string; recipientId: ChatPath };
  callAccepted: { callId: string; recipientId: ChatPath; roomName: string; token?: string; url?: string };
  callRejected: { recipientId: ChatPath; callId?: string; reason?: string };
  callCancelled: { callId: string; reason: string };
  callEnded: { callId: string; reason: string; durationMs?: number };
}

export const CALL_EVENTS = [
  "incomingCall",
  "callRinging",
  "callAccepted",
  "callRejected",
  "callCancelled",
  "callEnded",
] as const satisfies readonly (keyof CallEvents)[];

export interface AckError {
  status: "error";
  code: string;
  message: string;
  retryable: boolean;
  retryAfterMs?: number;
}

export type Ack<T = object> = ({ status: "ok" } & T) | AckError;

/** What is asked, and what an ack adds to status. */
export interface Asks {
  sendMessage: [
    { id: MessageId; senderChatPath: ChatPath; recipientChatPath: ChatPath; content?: unknown; senderProfile?: unknown },
    { id: MessageId; seq?: number; ts: number; delivery: "sent" | "queued" | "offline"; duplicate?: boolean },
  ];
  markAsRead: [{ senderChatPath: ChatPath; recipientChatPath: ChatPath; upToId: MessageId }, { seq?: number }];
  refreshAuth: [{ token: string }, { expiresAt?: number; expiresInMs?: number }];
  initiateCall: [
    { recipientId: ChatPath; callerId: ChatPath; callerInfo?: unknown; roomName?: string; media?: Media },
    { callId: string; roomName: string; expiresAt: number; expiresInMs: number; duplicate?: boolean; merged?: boolean; token?: string; url?: string },
  ];
  ringCall: [{ callId: string }, object];
  acceptCall: [
    { callerId: ChatPath; roomName?: string; callId: string },
    { callId: string; roomName: string; token?: string; url?: string; duplicate?: boolean },
  ];
  rejectCall: [{ callerId: ChatPath; recipientId: ChatPath; callId: string; reason?: string }, object];
  cancelCall: [{ callId: string }, object];
  endCall: [{ callId: string }, object];
  callConnected: [{ callId: string }, object];
  getCallToken: [{ callId: string }, { token: string; url: string }];
  getCalls: [object, { calls: CallInfo[] }];
}

/**
 * Sends an event, and answers with its ack; with nothing when there is no
 * connection, it has broken, or no ack has come within ms.
 */
export type Ask = <K extends keyof Asks>(
  event: K,
  payload: Asks[K][0],
  answer: (ack: Ack<Asks[K][1]> | undefined) => void,
  ms?: number,
) => void;
