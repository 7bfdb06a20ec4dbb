// The frame of a panel: a form, and the results with their busy state, errors, timings and requests.

import { RequestError, curlCommand, send } from "./api.js";
import { element } from "./dom.js";
import { InputError } from "./fields.js";
import { counted, duration } from "./numbers.js";

/**
 * Create a panel.
 *
 * @param {Object} options
 * @param {{node: Node}[]} options.fields The fields of the form.
 * @param {string} options.action The text of the button.
 * @param {function} options.compute An async function that returns the nodes to show. It is called with a function
 *   `post(path, body)`, which sends a request with the chosen model and returns the JSON value of the response;
 *   `post.numTruncated()` is the number of inputs that were truncated so far.
 * @param {{model: Object, onUnauthorized: function}} options.context The page: its chosen model, and what to do if the
 *   key is missing or invalid.
 * @returns {{node: Node, run: function, clear: function, open: function}}
 */
export function createPanel({ fields, action, compute, context }) {
  const status = element("p", { class: "status", role: "status" });
  const failure = element("div", { class: "failure", role: "alert" });
  const truncation = element("div", { class: "truncation", "aria-live": "polite" });
  const results = element("div", { class: "results" });
  const requests = element("details", { class: "requests", hidden: true });
  const output = element(
    "section",
    { class: "output", "aria-label": "Results" },
    element("div", { class: "progress", "aria-hidden": "true" }),
    failure,
    truncation,
    results,
    element("div", { class: "footer" }, status, requests),
  );
  const form = element(
    "form",
    { class: "inputs", novalidate: true, submit: onSubmit, keydown: onKey },
    fields.map((field) => field.node),
    element(
      "div",
      { class: "actions" },
      element("button", { type: "submit", class: "primary" }, action),
      element("span", { class: "shortcut" }, element("kbd", {}, "Ctrl"), " + ", element("kbd", {}, "Enter")),
    ),
  );
  let running = null;
  let isOpened = false;

  function onSubmit(event) {
    event.preventDefault();
    run();
  }

  function onKey(event) {
    if (event.key === "Enter" && (event.ctrlKey || event.metaKey)) {
      event.preventDefault();
      run();
    }
  }

  /** Compute the results; a run that is not done is cancelled. */
  async function run() {
    running?.abort();
    const controller = new AbortController();
    running = controller;
    setBusy(true);
    const records = [];
    const post = async (path, body) => {
      const model = context.model.id;
      const { value, record } = await send("POST", path, { body: { model, ...body }, signal: controller.signal });
      records.push({ ...record, tokens: value.usage?.prompt_tokens ?? null });
      return value;
    };
    post.numTruncated = () => records.reduce((sum, record) => sum + record.truncated, 0);
    try {
      const nodes = await compute(post);
      if (running !== controller) return;
      results.replaceChildren(...[nodes].flat());
      failure.replaceChildren();
      truncation.replaceChildren(...(post.numTruncated() ? [element("p", { class: "message" }, TRUNCATED_TEXT)] : []));
      status.textContent = summaryOf(records);
      if (records.length) showRequests(records);
    } catch (error) {
      if (running !== controller || error.name === "AbortError") return;
      showError(error);
    } finally {
      if (running === controller) setBusy(false);
    }
  }

  function setBusy(isBusy) {
    output.setAttribute("aria-busy", String(isBusy));
    if (isBusy && !results.hasChildNodes()) status.textContent = BUSY_TEXT;
  }

  function showError(error) {
    if (!(error instanceof RequestError || error instanceof InputError)) {
      console.error(error); // a bug of this page
    }
    status.textContent = "";
    for (const node of [results, truncation]) node.replaceChildren();
    requests.hidden = true;
    failure.replaceChildren(element("p", { class: "message error" }, sentence(error.message)));
    if (error.status === 401) context.onUnauthorized();
  }

  function showRequests(records) {
    requests.hidden = false;
    requests.replaceChildren(
      element("summary", {}, records.length === 1 ? "Request" : `${records.length} requests`),
      ...records.map(requestNode),
    );
  }

  return {
    node: element("div", { class: "panel" }, form, output),
    run,
    clear() {
      running?.abort();
      running = null;
      isOpened = false;
      setBusy(false);
      for (const node of [results, failure, truncation]) node.replaceChildren();
      status.textContent = "";
      requests.hidden = true;
    },
    open() {
      if (!isOpened) run();
      isOpened = true;
    },
  };
}

const BUSY_TEXT = "Computing...";
const TRUNCATED_TEXT =
  "At least one text is longer than the model can read, and was truncated: the results do not depend on the rest of it. " +
  "The tab Tokens shows the tokens of a text and the maximum.";

/** Return a message as a sentence. */
export function sentence(message) {
  const first = message.charAt(0).toUpperCase() + message.slice(1);
  return /[.!?)\n]$/.test(first) ? first : `${first}.`;
}

function summaryOf(records) {
  if (!records.length) return "No request: all vectors were computed before.";
  const total = records.reduce((sum, record) => sum + record.milliseconds, 0);
  const computed = records.map((record) => record.compute).filter((value) => value !== null);
  const tokens = records.reduce((sum, record) => sum + (record.tokens ?? 0), 0);
  return [
    duration(total),
    computed.length ? `${duration(computed.reduce((sum, value) => sum + value, 0))} in the model` : null,
    tokens ? counted(tokens, "token") : null,
  ]
    .filter(Boolean)
    .join(" \u00b7 ");
}

function requestNode(record) {
  const command = curlCommand(record);
  const copy = element("button", { type: "button", class: "quiet", click: () => copyText(copy, command) }, "Copy");
  return element(
    "div",
    { class: "request" },
    element(
      "div",
      { class: "request-head" },
      element("code", {}, `${record.method} /${record.path}`),
      element("span", { class: "muted" }, duration(record.milliseconds)),
      copy,
    ),
    element("pre", { tabindex: "0" }, command),
  );
}

async function copyText(button, text) {
  try {
    await navigator.clipboard.writeText(text);
    button.textContent = "Copied";
  } catch {
    button.textContent = "Select the text to copy it"; // browsers allow copying only on https and localhost
  }
}
