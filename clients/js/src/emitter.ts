/** What `on` takes. One that returns a promise is waited for where that matters. */
export type Handler<T> = (event: T) => unknown;

/**
 * Typed events. E names them, and the one argument that each has. Who listens is
 * not told of what was before; a handler that throws does not keep the next one
 * from being called.
 */
export abstract class Emitter<E extends object> {
  readonly #handlers = new Map<keyof E, Set<Handler<never>>>();

  /** Calls handler for every such event, until the function that it returns is called. */
  on<K extends keyof E>(name: K, handler: Handler<E[K]>): () => void {
    let handlers = this.#handlers.get(name);
    if (!handlers) this.#handlers.set(name, (handlers = new Set()));
    handlers.add(handler);
    return () => this.off(name, handler);
  }

  /** Calls handler for the next such event. */
  once<K extends keyof E>(name: K, handler: Handler<E[K]>): () => void {
    const off = this.on(name, (event) => {
      off();
      return handler(event);
    });
    return off;
  }

  off<K extends keyof E>(name: K, handler: Handler<E[K]>): void {
    this.#handlers.get(name)?.delete(handler);
  }

  protected listens(name: keyof E): boolean {
    return (this.#handlers.get(name)?.size ?? 0) > 0;
  }

  /** Calls the handlers, in the order in which they came. It returns a promise only if one of them did. */
  protected emit<K extends keyof E>(name: K, event: E[K]): Promise<void> | undefined {
    let waits: Promise<void>[] | undefined;
    for (const handler of [...(this.#handlers.get(name) ?? [])] as Handler<E[K]>[]) {
      try {
        const result = handler(event);
        if (isPromise(result)) (waits ??= []).push(result.then(nothing, (err: unknown) => this.failed(name, err)));
      } catch (err) {
        this.failed(name, err);
      }
    }
    return waits && Promise.all(waits).then(nothing);
  }

  /** A handler has thrown, or what it returned was rejected. */
  protected abstract failed(name: keyof E, err: unknown): void;
}

export function nothing(): void {}

export function isPromise<T>(x: T | PromiseLike<T>): x is Promise<T> {
  return typeof (x as { then?: unknown } | null | undefined)?.then === "function";
}
