import { io } from "socket.io-client";
import { Client } from "./client.js";
import type { Options } from "./types.js";

export * from "./core.js";

/** A {@link Client} on socket.io-client. */
export class HeyManito<Content = unknown, Profile = unknown> extends Client<Content, Profile> {
  constructor(options: Options<Profile>) {
    super(io, options);
  }
}
