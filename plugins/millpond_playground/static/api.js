// The client of the server's HTTP API: relative paths, the API key, errors and timings of requests.

/** The URL below which the routes are; it contains the path prefix of a proxy (`--root-path`). */
export const BASE = new URL(".", document.baseURI);
const STORED_KEY = `millpond-api-key:${BASE.pathname}`;

/** An error response of the server, or a request without a response (status 0). */
export class RequestError extends Error {
  constructor(status, message) {
    super(message);
    this.name = "RequestError";
    this.status = status;
  }
}

/** Return the API key of this tab; empty without one. */
export function storedKey() {
  return sessionStorage.getItem(STORED_KEY) ?? "";
}

/** Keep the API key until this tab is closed; an empty key removes it. */
export function storeKey(key) {
  if (key) sessionStorage.setItem(STORED_KEY, key);
  else sessionStorage.removeItem(STORED_KEY);
}

/**
 * Send a request and return the JSON value of the response, with a record of the request.
 *
 * @param {string} method The HTTP method.
 * @param {string} path The path without a leading slash, such as `v1/embeddings`.
 * @param {Object} [options] `body` is the JSON value to send, `signal` cancels the request.
 * @throws {RequestError} For an error response, or without a response.
 */
export async function send(method, path, { body, signal } = {}) {
  const key = storedKey();
  const headers = key ? { authorization: `Bearer ${key}` } : {};
  if (body !== undefined) headers["content-type"] = "application/json";
  const start = performance.now();
  const response = await fetched(new URL(path, BASE), {
    method,
    headers,
    signal,
    body: body === undefined ? undefined : JSON.stringify(body),
    cache: "no-store",
    credentials: "same-origin",
  });
  const text = await response.text();
  const milliseconds = performance.now() - start;
  if (!response.ok) throw new RequestError(response.status, errorMessage(response, text));
  const truncated = Number(response.headers.get("x-millpond-truncated") ?? 0);
  const record = { method, path, body, milliseconds, truncated, compute: computeMilliseconds(response) };
  return { value: JSON.parse(text), record };
}

async function fetched(url, options) {
  try {
    return await fetch(url, options);
  } catch (error) {
    if (error.name === "AbortError") throw error;
    throw new RequestError(0, "the server does not respond: check that it is running, then try again");
  }
}

/** Return the message of an error response, which has different fields in the APIs of the server. */
function errorMessage(response, text) {
  const hint = response.status === 503 ? retryHint(response) : "";
  try {
    const { error, message, detail } = JSON.parse(text);
    const stated = [error?.message, message, error, detail].find((value) => typeof value === "string" && value);
    if (stated) return `${stated}${hint}`;
  } catch (error) {
    if (!(error instanceof SyntaxError)) throw error;
  }
  return `the server answered with status ${response.status}${hint}`;
}

function retryHint(response) {
  const seconds = response.headers.get("retry-after");
  return seconds ? ` (retry in ${seconds} s)` : "";
}

/** Return the time that the model computed, from the header Server-Timing; null if it is not there. */
function computeMilliseconds(response) {
  const match = /(?:^|,)\s*compute;dur=([\d.]+)/.exec(response.headers.get("server-timing") ?? "");
  return match ? Number(match[1]) : null;
}

const MAX_SHOWN_STRING = 400;

/** Return a curl command for a request. Long strings, such as images, are shortened; the key is a variable. */
export function curlCommand({ method, path, body }) {
  const parts = [`curl ${method === "GET" ? "" : `-X ${method} `}${quoted(new URL(path, BASE).href)}`];
  if (storedKey()) parts.push('-H "Authorization: Bearer $MILLPOND_API_KEY"');
  if (body !== undefined) {
    const shorten = (_, value) =>
      typeof value === "string" && value.startsWith("data:") && value.length > MAX_SHOWN_STRING
        ? `${value.slice(0, 40)}...`
        : value;
    parts.push("-H 'Content-Type: application/json'", `-d ${quoted(JSON.stringify(body, shorten))}`);
  }
  return parts.join(" \\\n  ");
}

const quoted = (text) => `'${text.replaceAll("'", "'\\''")}'`;
