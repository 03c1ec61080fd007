// Who is logged in on this tab. Reloading the page keeps it, closing the tab
// does not.
const KEY = "heymanito.session";

/** Why a login did not succeed: code is the server's, or "network". */
export class LoginError extends Error {
  constructor(code) {
    super(code);
    this.code = code;
  }
}

export class Session {
  /** The session of this tab, if there is one. */
  static restore() {
    try {
      return new Session(JSON.parse(sessionStorage.getItem(KEY)));
    } catch {
      return null;
    }
  }

  static async login(name) {
    const session = new Session({ deviceId: randomId(), ...(await login(name)) });
    session.#save();
    return session;
  }

  constructor({ chatPath, token, expires, deviceId }) {
    Object.assign(this, { chatPath, token, expires, deviceId });
  }

  /**
   * A token that is good for a while yet. A host's page would renew its own
   * here; this demo logs in again.
   */
  async freshToken() {
    if (!this.token || Date.now() > this.expires - 60_000) {
      Object.assign(this, await login(this.chatPath));
      this.#save();
    }
    return this.token;
  }

  /** The server does not believe the token: it has restarted, say. */
  forgetToken() {
    this.token = null;
  }

  end() {
    sessionStorage.clear();
  }

  #save() {
    sessionStorage.setItem(KEY, JSON.stringify(this));
  }
}

async function login(name) {
  let answer;
  let body;
  try {
    answer = await fetch("/login", {
      method: "POST",
      headers: { "Content-Type": "application/json" },
      body: JSON.stringify({ name: name.trim().normalize() }),
    });
    body = await answer.json();
  } catch {
    throw new LoginError("network");
  }
  if (!answer.ok) throw new LoginError(body.code);
  return { chatPath: body.chatPath, token: body.token, expires: Date.now() + body.expiresInMs };
}

/** 128 random bits; crypto.randomUUID is there on https and localhost only. */
export function randomId() {
  return Array.from(crypto.getRandomValues(new Uint8Array(16)), (b) => b.toString(16).padStart(2, "0")).join("");
}
