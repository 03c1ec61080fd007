/** The codes of the server's, as its acks and refusals say them: docs/protocol.md, section 2. */
export type ServerCode =
  | "invalid"
  | "too_large"
  | "missing_user"
  | "identity_mismatch"
  | "unauthorized"
  | "forbidden"
  | "not_found"
  | "conflict"
  | "busy"
  | "offline"
  | "rate_limited"
  | "unavailable"
  | "internal";

/**
 * The codes of this client's own:
 *
 * - `closed`: `close()` was called while it was waiting.
 * - `ended`: the server, or its refusal, has ended the session.
 * - `no_answer`: there is no connection, or it broke before the answer came.
 * - `aborted`: the caller's AbortSignal said so; its reason is the cause.
 * - `token`, `store`, `handler`: code of yours has thrown, the cause says what.
 */
export type ClientCode = "closed" | "ended" | "no_answer" | "aborted" | "token" | "store" | "handler";

/** A code that this client knows, or one that a server of tomorrow says. */
export type Code = ServerCode | ClientCode | (string & {});

/** Every error that this package makes. */
export class HeyManitoError extends Error {
  override readonly name = "HeyManitoError";
  readonly code: Code;
  /** Whether the same may succeed later. */
  readonly retryable: boolean;
  /** Not before so many milliseconds; absent: there is no hint. */
  readonly retryAfterMs: number | undefined;

  constructor(code: Code, message: string, more: { retryable?: boolean; retryAfterMs?: number | undefined; cause?: unknown } = {}) {
    super(message, more.cause === undefined ? undefined : { cause: more.cause });
    this.code = code;
    this.retryable = more.retryable ?? false;
    this.retryAfterMs = more.retryAfterMs;
  }
}

/** The error that an ack is. */
export function refused(ack: { code: string; message: string; retryable?: boolean; retryAfterMs?: number }): HeyManitoError {
  return new HeyManitoError(ack.code, ack.message, { retryable: ack.retryable ?? false, retryAfterMs: ack.retryAfterMs });
}
