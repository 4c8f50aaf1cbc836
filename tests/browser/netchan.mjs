// A client of the protocol, for the tests. Written from docs/protocol.md alone; what it does not need is not here.

const MAGIC = Uint8Array.of(0xd9, 0xd9, 0xf7);
const [HELLO, IMPORT, ACCEPT, REJECT, DATA, ACK, , CLOSE, PING, PONG, GOODBYE] = Array(11).keys();
export const CODE = { FINISHED: 0, HUNG_UP: 1, RECEIVER_GONE: 2, VALUE_REFUSED: 3, WITHDRAWN: 4 };
const OWN = { frame: 65536, value: 2 ** 20, buffer: 2 ** 20, keepalive: 0, resume: 0 };
const FRAME_FIELDS = 64; // bytes of a DATA frame beside its payload, at most
const BATCH = 16; // values

// Schemas

export const INT = [[3]];
export const TEXT = [[5]];

/** A record whose fields have the given schemas, each of one node. */
export function record(name, fields) {
  const nodes = Object.values(fields).map(([node]) => node);
  return [[18, name, false, ...Object.keys(fields).map((field, index) => [field, 0, index + 1])], ...nodes];
}

// CBOR

export function join(parts) {
  const joined = new Uint8Array(parts.reduce((size, part) => size + part.length, 0));
  let at = 0;
  for (const part of parts) {
    joined.set(part, at);
    at += part.length;
  }
  return joined;
}

function head(major, number) {
  const first = major << 5;
  if (number < 24) return Uint8Array.of(first | Number(number));
  const sizes = [1, 2, 4, 8];
  const index = sizes.findIndex((size) => number < 2 ** (8 * size));
  const bytes = new Uint8Array(1 + sizes[index]);
  bytes[0] = first | (24 + index);
  for (let rest = BigInt(number), at = bytes.length - 1; at > 0; at--, rest >>= 8n) bytes[at] = Number(rest & 0xffn);
  return bytes;
}

export function encode(value) {
  if (value === null) return Uint8Array.of(0xf6);
  if (typeof value === "boolean") return Uint8Array.of(value ? 0xf5 : 0xf4);
  if (typeof value === "bigint" || Number.isInteger(value)) {
    return value < 0 ? head(1, -1n - BigInt(value)) : head(0, value);
  }
  if (typeof value === "number") {
    const view = new DataView(new ArrayBuffer(9));
    view.setUint8(0, 0xfb);
    view.setFloat64(1, value);
    return new Uint8Array(view.buffer);
  }
  if (typeof value === "string") {
    const text = new TextEncoder().encode(value);
    return join([head(3, text.length), text]);
  }
  if (value instanceof Uint8Array) return join([head(2, value.length), value]);
  if (Array.isArray(value)) return join([head(4, value.length), ...value.map(encode)]);
  const entries = Object.entries(value);
  return join([head(5, entries.length), ...entries.flat().map(encode)]);
}

/** The head at this place: its major type, its number, and where it ends; null if it is not there whole. */
function readHead(bytes, at) {
  if (at >= bytes.length) return null;
  const major = bytes[at] >> 5;
  const short = bytes[at] & 31;
  if (short < 24) return { major, short, number: short, end: at + 1 };
  if (short > 27) throw new Error(`expected a definite length, got the byte ${bytes[at]}`);
  const end = at + 1 + 2 ** (short - 24);
  if (end > bytes.length) return null;
  const big = bytes.subarray(at + 1, end).reduce((number, byte) => (number << 8n) | BigInt(byte), 0n);
  return { major, short, number: big <= Number.MAX_SAFE_INTEGER ? Number(big) : big, end };
}

export function decode(bytes) {
  const [value, end] = decodeAt(bytes, 0);
  if (end !== bytes.length) throw new Error(`expected one item, got ${bytes.length - end} bytes more`);
  return value;
}

function decodeAt(bytes, at) {
  const found = readHead(bytes, at);
  if (found === null) throw new Error("expected an item, got the end");
  const { major, short, number, end } = found;
  if (major === 0) return [number, end];
  if (major === 1) return [typeof number === "bigint" ? -1n - number : -1 - number, end];
  if (major === 2 || major === 3) {
    const content = bytes.subarray(end, end + number);
    if (content.length !== number) throw new Error("expected a text or bytes, got the end");
    return [major === 2 ? content : new TextDecoder("utf-8", { fatal: true }).decode(content), end + number];
  }
  if (major === 4 || major === 5) return decodeContainer(bytes, end, number, major === 5);
  if (major === 7 && short >= 20 && short <= 22) return [[false, true, null][short - 20], end];
  if (major === 7 && short === 27) return [new DataView(bytes.buffer, bytes.byteOffset + at + 1).getFloat64(0), end];
  throw new Error(`expected an item that is known here, got the byte ${bytes[at]}`);
}

function decodeContainer(bytes, at, size, isMap) {
  const items = [];
  for (let left = isMap ? 2 * size : size; left > 0; left--) {
    const [item, end] = decodeAt(bytes, at);
    items.push(item);
    at = end;
  }
  if (!isMap) return [items, at];
  return [Object.fromEntries(Array.from({ length: size }, (_, index) => items.slice(2 * index, 2 * index + 2))), at];
}

// Channels

/** The end of a channel whose values come from the exporter: `for await (const value of channel)`. */
class ReceivingChannel {
  constructor(session, id, window) {
    Object.assign(this, { session, id, window, received: 0, delivered: 0, acknowledged: 0, byteLimit: OWN.buffer });
    this.batches = []; // of {values, size}: what has arrived and is not delivered
    this.fragments = [];
    this.finished = null; // the sender's CLOSE
    this.closed = false;
    this.waiting = null;
  }

  take(first, more, payload) {
    if (first !== this.received) throw new Error(`expected the value number ${this.received}, got ${first}`);
    this.fragments.push(payload);
    if (more) return;
    const whole = join(this.fragments);
    const values = decode(whole);
    this.fragments = [];
    this.received += values.length;
    this.batches.push({ values, size: whole.length });
    this.wake();
  }

  onClose(count, code) {
    if (count !== this.received) throw new Error(`expected ${this.received} values in all, got ${count}`);
    this.finished = code;
    this.wake();
  }

  wake() {
    this.waiting?.();
    this.waiting = null;
  }

  async *[Symbol.asyncIterator]() {
    while (true) {
      while (this.batches.length === 0 && this.finished === null) {
        await new Promise((resolve) => (this.waiting = resolve));
      }
      if (this.batches.length === 0) break;
      const batch = this.batches[0];
      const value = batch.values.shift();
      this.delivered++;
      if (batch.values.length === 0) {
        this.byteLimit += batch.size;
        this.batches.shift();
      }
      const all = this.batches.length === 0;
      if (all || this.delivered - this.acknowledged >= this.window / 2) this.acknowledge();
      yield value;
    }
    this.close(CODE.FINISHED);
  }

  acknowledge() {
    this.acknowledged = this.delivered;
    this.session.say(ACK, this.id, this.delivered, this.delivered + this.window, this.byteLimit);
  }

  /** The last word. */
  close(code) {
    if (!this.closed) this.session.say(CLOSE, this.id, this.delivered, code, "");
    this.closed = true;
  }
}

/** The end of a channel whose values go to the exporter. */
class SendingChannel {
  constructor(session, id, window) {
    Object.assign(this, { session, id, window, sent: 0, bytesSent: 0, acknowledged: 0 });
    this.valueLimit = window;
    this.byteLimit = session.peer.buffer;
    this.lastWord = null; // {count, code, message}
    this.waiting = null;
  }

  /** Sends the values, as credit allows; `close` then says that there are no more. */
  async send(...values) {
    const encoded = values.map(encode);
    while (encoded.length > 0) {
      const size = this.fitting(encoded);
      if (this.lastWord !== null) throw new Error(`expected a receiver, got its last word: ${this.lastWord.code}`);
      if (size > 0) this.write(encoded.splice(0, size));
      else await this.change();
    }
  }

  /** How many of the values may go now, in one batch. */
  fitting(encoded) {
    const room = Math.min(this.valueLimit, this.acknowledged + this.window) - this.sent;
    for (let size = Math.min(room, BATCH, encoded.length); size > 0; size--) {
      const bytes = encoded.slice(0, size).reduce((sum, value) => sum + value.length, 1);
      if (this.bytesSent + bytes <= this.byteLimit) return size;
      if (size === 1 && this.acknowledged === this.sent) return 1;
    }
    return 0;
  }

  write(encoded) {
    const payload = join([head(4, encoded.length), ...encoded]);
    const piece = this.session.peer.frame - FRAME_FIELDS;
    for (let at = 0; at < payload.length; at += piece) {
      const more = at + piece < payload.length;
      this.session.say(DATA, this.id, this.sent, more, payload.subarray(at, at + piece));
    }
    this.sent += encoded.length;
    this.bytesSent += payload.length;
  }

  change() {
    return new Promise((resolve) => (this.waiting = resolve));
  }

  wake() {
    this.waiting?.();
    this.waiting = null;
  }

  onAck(delivered, valueLimit, byteLimit) {
    this.acknowledged = Math.max(this.acknowledged, delivered);
    this.valueLimit = Math.max(this.valueLimit, valueLimit);
    this.byteLimit = Math.max(this.byteLimit, byteLimit);
    this.wake();
  }

  onClose(count, code, message) {
    this.lastWord = { count, code, message };
    this.wake();
  }

  /** Says that there are no more; returns the receiver's last word. */
  async close() {
    if (this.lastWord === null) this.session.say(CLOSE, this.id, this.sent, CODE.FINISHED, "");
    while (this.lastWord === null) await this.change();
    return this.lastWord;
  }
}

// The session

/** Opens a session with the exporter at this URL. The token, a text, says who this is. */
export async function open(url, token = null) {
  const socket = new WebSocket(url, "trionetchan.1");
  socket.binaryType = "arraybuffer";
  const session = new Session(socket, token);
  await session.greeted;
  return session;
}

class Session {
  constructor(socket, token) {
    this.socket = socket;
    this.unread = new Uint8Array(0);
    this.channels = new Map();
    this.requests = new Map();
    this.nextId = 0;
    this.peer = null; // the parameters of its HELLO
    this.left = false;
    this.magic = false;
    this.failure = null;
    this.over = new Promise((resolve) => (socket.onclose = (event) => resolve(event.code)));
    this.greeted = new Promise((resolve, reject) => (this.answer = { resolve, reject }));
    this.over.then((code) => this.fail(new Error(`expected a goodbye, got a closed WebSocket with code ${code}`)));
    const said = token === null ? OWN : { ...OWN, token: new TextEncoder().encode(token) };
    socket.onopen = () => socket.send(join([MAGIC, this.frame(HELLO, 1, said)]));
    socket.onmessage = (event) => this.read(new Uint8Array(event.data));
  }

  frame(...fields) {
    const encoded = encode(fields);
    return join([head(2, encoded.length), encoded]);
  }

  say(...fields) {
    if (!this.left) this.socket.send(this.frame(...fields));
  }

  /** Asks for a channel. Rejected with an error that has the exporter's `code`. */
  receive(name, schema, window = 64) {
    return this.import(name, true, schema, window);
  }

  send(name, schema, window = 64) {
    return this.import(name, false, schema, window);
  }

  import(name, receives, schema, window) {
    if (this.failure !== null) return Promise.reject(this.failure);
    const id = this.nextId++;
    this.say(IMPORT, id, name, receives, window, null, encode(schema));
    return new Promise((resolve, reject) => this.requests.set(id, { receives, window, resolve, reject }));
  }

  /** Says goodbye, and returns when the connection has ended: the code of the close frame. */
  leave() {
    this.say(GOODBYE, CODE.FINISHED, "");
    this.left = true;
    this.socket.close(1000);
    return this.over;
  }

  fail(error) {
    if (this.left) return;
    this.failure = error;
    this.answer.reject(error);
    for (const { reject } of this.requests.values()) reject(error);
  }

  read(chunk) {
    if (this.left) return;
    this.unread = join([this.unread, chunk]);
    if (!this.magic && this.unread.length >= MAGIC.length) {
      if (MAGIC.some((byte, index) => byte !== this.unread[index])) throw new Error("expected the magic");
      this.unread = this.unread.subarray(MAGIC.length);
      this.magic = true;
    }
    while (this.magic && !this.left) {
      const found = readHead(this.unread, 0);
      if (found === null) return;
      const { major, number, end } = found;
      if (major !== 2 || number < 1 || number > OWN.frame) throw new Error(`expected a frame, got ${major}, ${number}`);
      if (this.unread.length < end + number) return;
      const frame = this.unread.subarray(end, end + number);
      this.unread = this.unread.slice(end + number);
      this.handle(...decode(frame));
    }
  }

  handle(kind, ...fields) {
    const [id, ...rest] = fields;
    const channel = this.channels.get(id);
    const request = this.requests.get(id);
    if (kind === HELLO) {
      const [version, parameters] = fields;
      if (version !== 1) throw new Error(`expected version 1, got ${version}`);
      this.peer = { frame: 65536, value: 1048576, buffer: 1048576, ...parameters };
      this.answer.resolve();
    } else if (kind === ACCEPT) {
      const End = request.receives ? ReceivingChannel : SendingChannel;
      this.channels.set(id, new End(this, id, Math.min(request.window, rest[0])));
      this.requests.delete(id);
      request.resolve(this.channels.get(id));
    } else if (kind === REJECT) {
      this.requests.delete(id);
      request.reject(Object.assign(new Error(rest[1]), { code: rest[0] }));
    } else if (kind === DATA) {
      if (!channel.closed) channel.take(...rest);
    } else if (kind === ACK) {
      if (channel.lastWord === null) channel.onAck(...rest);
    } else if (kind === CLOSE) {
      if (!channel.closed) channel.onClose(...rest);
    } else if (kind === PING) {
      this.say(PONG, id);
    } else if (kind === GOODBYE) {
      this.fail(Object.assign(new Error(`expected an exporter, got its goodbye: ${rest[0]}`), { code: id }));
      this.leave();
    } else if (kind !== PONG) {
      throw new Error(`expected a frame of a known kind, got ${kind}`);
    }
  }
}
