#!/usr/bin/env node
/*
Pushes events and documents to invoice-router. Needs Node.js 18 and nothing beside it.

    client.mjs URL SECRET_FILE event FILE              an event, as JSON
    client.mjs URL SECRET_FILE document FILE           a document, before the invoice that names its digest
    client.mjs URL SECRET_FILE invoice FILE DOCUMENT…  an invoice's documents, then its event

Standard output has the last answer to each request as it came, standard error what it means. Exit code:
0 accepted · 1 refused, and the same again would be · 2 usage · 3 gave up: run it again later.

What trips people up before there is a FILE:
- Take the account's next version and read its data under one row lock, and write the event into an outbox in
  the same transaction (README.md, beside the events). Otherwise a change overtakes another, or is never told.
- Where there is no counter, the version is Math.max(last + 1, Date.now()), kept with the account: it must rise
  even if the clock is put back. The small events need versions without gaps, so send account.updated only.
- Ids and numbers are strings, and so are amounts ("119.00"): 0042 loses its zeros as a number, and a sum of
  0.1 and 0.2 is no 0.3. Calculate in cents.
- The event's own time-stamp says when the change was made, with its offset: new Date().toISOString().
*/

import { createHash, createHmac } from 'node:crypto';
import { existsSync, readFileSync, realpathSync } from 'node:fs';
import { setTimeout as sleep } from 'node:timers/promises';
import { fileURLToPath } from 'node:url';

const ACCEPTED = 0;
const REFUSED = 1;
const USAGE = 2;
const GAVE_UP = 3;
const ATTEMPTS = 5;
// Doubles with each attempt.
const FIRST_DELAY_SECONDS = 1;
// Whoever asks for more is asked again by the next run.
const LONGEST_DELAY_SECONDS = 300;
// The daemon gives a body 70 s.
const TIME_OUT_SECONDS = 75;

const MEANINGS = {
  applied: 'it is in force',
  stored: 'the document is there for the invoice that names it',
  duplicate: 'it was known already, and nothing happened twice',
  stale: 'nothing changed: a newer version is stored, or the invoice was withdrawn before it was issued',
  parked: 'it is kept until its account comes; there is no need to send it again',
};

export class Client {
  #url;
  #secrets;

  constructor(url, secrets) {
    if (!['http:', 'https:'].includes(new URL(url).protocol)) {
      throw new TypeError(`${url} is no http or https URL`);
    }
    this.#url = url.replace(/\/+$/, '');
    this.#secrets = secrets;
  }

  /**
   * An event. `body` is a Buffer of what JSON.stringify made once: these bytes are signed, and these bytes are
   * sent. A library that is handed the object instead (axios, got's `json`) serialises it again.
   */
  async push(body, webhookId = `evt_${sha256(body).slice(0, 32)}`, fillGap = undefined) {
    // The id belongs to the event, not to the attempt: it is how a repetition is known. An outbox has it in the
    // event's row; the digest does as well, since the same bytes get the same id in each run.
    return this.#send('POST', '/v1/events', 'application/json', webhookId, body, body, fillGap);
  }

  /**
   * A document's bytes. Render it once and keep them: a PDF that is rendered again has another digest, which
   * makes it another document and the event another invoice (409 invoice_conflict).
   */
  async upload(document) {
    // What is signed are the 64 digits: the libraries cannot sign bytes that are no text.
    const digest = sha256(document);
    const webhookId = `doc_${digest.slice(0, 32)}`;
    return this.#send('PUT', `/v1/documents/${digest}`, 'application/octet-stream', webhookId, digest, document);
  }

  /** An invoice: its documents, then the event that names their digests. */
  async handOver(body, documents) {
    for (const document of documents) {
      const outcome = await this.upload(document);
      if (outcome !== ACCEPTED) {
        return outcome;
      }
    }
    const uploadAgain = async () => {
      for (const document of documents) {
        await this.upload(document);
      }
    };
    return this.push(body, undefined, uploadAgain);
  }

  async #send(method, path, contentType, webhookId, payload, body, fillGap) {
    let text;
    let outcome = GAVE_UP;
    for (let attempt = 1; ; attempt += 1) {
      // Of this attempt, unlike the id and the body: five minutes off is refused.
      const headers = { 'content-type': contentType, ...signedHeaders(this.#secrets, webhookId, payload) };
      let status;
      let retryAfter = 0;
      let answer = {};
      try {
        ({ status, retryAfter, text } = await this.#exchange(method, path, headers, body));
        answer = asObject(text);
      } catch (error) {
        // It may have arrived all the same. Under the same id it is safe to ask again.
        text = undefined;
        say(`attempt ${attempt}: ${error.cause?.message || error.message}`);
      }
      if (text !== undefined) {
        if (status >= 200 && status <= 299 && Object.hasOwn(MEANINGS, answer.result)) {
          explain(answer);
          outcome = ACCEPTED;
          break;
        }
        say(`attempt ${attempt}: ${status} ${answer.detail ?? 'with no answer of invoice-router'}`);
        explainProblem(answer);
        if (!mayRetry(status, answer)) {
          outcome = REFUSED;
          break;
        }
      }
      if (attempt === ATTEMPTS || retryAfter > LONGEST_DELAY_SECONDS) {
        say('gave up; run this again later');
        break;
      }
      if (answer.code === 'document_missing') {
        await fillGap?.();
      }
      // Not all at once, after a fault that all met at once.
      const delay = FIRST_DELAY_SECONDS * 2 ** (attempt - 1) * (0.5 + Math.random() / 2);
      await sleep(1000 * (retryAfter + delay));
    }
    if (text !== undefined) {
      console.log(text);
    }
    return outcome;
  }

  /** One attempt: the status, Retry-After in seconds, the answer. Redirects are not followed. */
  async #exchange(method, path, headers, body) {
    const signal = AbortSignal.timeout(1000 * TIME_OUT_SECONDS);
    const response = await fetch(this.#url + path, { method, headers, body, signal, redirect: 'manual' });
    const after = response.headers.get('retry-after') ?? '';
    const text = await response.text();
    return { status: response.status, retryAfter: /^\d+$/.test(after) ? Number(after) : 0, text };
  }
}

/**
 * The secrets, one a line. Two, while the old one is being replaced: a signature by each is sent, and the daemon
 * takes whichever it knows.
 */
export function readSecrets(path) {
  const lines = readFileSync(path, 'utf8').split('\n').map((line) => line.trim());
  const secrets = lines.filter((line) => line !== '' && !line.startsWith('#'));
  if (secrets.length === 0) {
    throw new TypeError(`${path} holds no secret`);
  }
  secrets.forEach((secret) => signature(secret, '', 0, ''));
  return secrets;
}

function signedHeaders(secrets, webhookId, payload) {
  // Whole seconds since 1970, which are UTC; Date.now() has milliseconds. A clock that is set by NTP is needed.
  const timestamp = Math.floor(Date.now() / 1000);
  const signatures = secrets.map((secret) => signature(secret, webhookId, timestamp, payload));
  return {
    'webhook-id': webhookId,
    'webhook-timestamp': String(timestamp),
    'webhook-signature': signatures.join(' '),
  };
}

/** Standard Webhooks 1.0. The key is what the base64 behind whsec_ stands for, not its text. */
export function signature(secret, webhookId, timestamp, payload) {
  // Buffer.from leaves out what is no base64 without a word.
  if (!/^whsec_[A-Za-z0-9+/]+={0,2}$/.test(secret)) {
    throw new TypeError('a secret is whsec_ and base64');
  }
  const key = Buffer.from(secret.slice('whsec_'.length), 'base64');
  const hmac = createHmac('sha256', key).update(`${webhookId}.${timestamp}.`).update(payload);
  return `v1,${hmac.digest('base64')}`;
}

/** Whether the same request can succeed later. No other 4xx ever does: somebody has to look. */
function mayRetry(status, answer) {
  return status === 408 || status === 429 || status >= 500 || answer.retryable === true;
}

function explain(answer) {
  say(`${answer.result}: ${MEANINGS[answer.result]}`);
  if (answer.state === 'sending') {
    say("it is being sent at this moment; ask for the invoice's state again");
  }
  for (const number of answer.in_flight ?? []) {
    say(`the mail with ${number} was on its way to the recipient of before and could not be stopped`);
  }
  for (const warning of answer.warnings ?? []) {
    say(`warning ${warning.code} at ${warning.field}: ${warning.detail}`);
  }
}

function explainProblem(answer) {
  if (answer.code === undefined) {
    return;
  }
  // The daemon's log has more under the request_id.
  say(`  ${answer.code}, request_id ${answer.request_id}`);
  for (const error of answer.errors ?? []) {
    say(`  ${error.pointer ?? error.parameter}: expected ${error.expected}`);
  }
  if (answer.code === 'version_gap') {
    say(`  send the account's events after version ${answer.current_version} first, or its account.updated`);
  } else if (answer.code === 'document_missing') {
    say(`  upload first: ${(answer.missing ?? []).join(', ')}`);
  }
}

/** A proxy in between may answer with anything. */
function asObject(text) {
  try {
    return Object(JSON.parse(text));
  } catch {
    return {};
  }
}

function sha256(bytes) {
  return createHash('sha256').update(bytes).digest('hex');
}

function say(words) {
  console.error(words);
}

async function main([url, secretFile, command, ...files]) {
  const isKnown = ['event', 'document', 'invoice'].includes(command);
  if (!isKnown || files.length === 0 || (command !== 'invoice' && files.length > 1)) {
    for (const rest of ['event FILE', 'document FILE', 'invoice FILE DOCUMENT…']) {
      say(`client.mjs URL SECRET_FILE ${rest}`);
    }
    return USAGE;
  }
  let client;
  let contents;
  try {
    client = new Client(url, readSecrets(secretFile));
    contents = files.map((file) => readFileSync(file));
  } catch (error) {
    say(error.message);
    return USAGE;
  }
  const [body, ...documents] = contents;
  if (command === 'event') {
    return client.push(body);
  }
  if (command === 'document') {
    return client.upload(body);
  }
  const strange = documents.findIndex((document) => !body.includes(sha256(document)));
  if (strange !== -1) {
    say(`${files[0]} does not name the digest of ${files[strange + 1]}: was it rendered again?`);
    return USAGE;
  }
  return client.handOver(body, documents);
}

// Not where another file imports this one.
if (existsSync(process.argv[1] ?? '') && realpathSync(process.argv[1]) === fileURLToPath(import.meta.url)) {
  process.exitCode = await main(process.argv.slice(2));
}
