// The page: reads the models of the server, and shows the panels of what the chosen model can do.

import { RequestError, send, storedKey } from "./api.js";
import { element } from "./dom.js";
import { createKeyDialog } from "./key.js";
import { counted } from "./numbers.js";
import { sentence } from "./panel.js";
import { classify } from "./panels/classify.js";
import { entities } from "./panels/entities.js";
import { images } from "./panels/images.js";
import { maxsim } from "./panels/maxsim.js";
import { rerank } from "./panels/rerank.js";
import { search } from "./panels/search.js";
import { similarity } from "./panels/similarity.js";
import { sparse } from "./panels/sparse.js";
import { tokens } from "./panels/tokens.js";
import { createTabs } from "./tabs.js";

const PANELS = [similarity, search, rerank, classify, entities, images, maxsim, sparse, tokens];

const byId = (id) => document.getElementById(id);
const context = { model: null, onUnauthorized: () => keyDialog.open("The server refused the request: it needs a valid key.") };
const built = new Map(); // panels by id; they keep their inputs when the model changes
const keyDialog = createKeyDialog({ onChange: start });
const tabs = createTabs({ list: byId("tabs"), panels: byId("panels"), onShow: (tab) => tab.panel.open() });
let models = [];

/** Read the models and show the first one, or the one that was shown before. */
async function start() {
  updateKeyButton();
  byId("notice").replaceChildren();
  try {
    const { value } = await send("GET", "models");
    models = value.data;
  } catch (error) {
    showFailure(error);
    return;
  }
  const select = byId("model");
  const previous = context.model?.id;
  select.replaceChildren(...models.map((model) => element("option", { value: model.id }, model.id)));
  select.disabled = models.length < 2;
  select.value = models.some((model) => model.id === previous) ? previous : models[0].id;
  chooseModel();
}

function chooseModel() {
  context.model = models.find((model) => model.id === byId("model").value);
  showFacts(context.model);
  for (const { panel } of built.values()) panel.clear();
  const supported = PANELS.filter((panel) => panel.supports(context.model));
  tabs.show(supported.map(tabOf));
  if (supported.length) return;
  const hint = "The playground shows texts, images, classes and entities; the routes of this model are on the page Routes.";
  byId("notice").replaceChildren(element("p", { class: "message" }, `Nothing to try for ${context.model.id}. ${hint}`));
}

function tabOf({ id, title, summary, build }) {
  if (!built.has(id)) {
    const panel = build(context);
    built.set(id, { id, title, panel, node: element("div", {}, heading(title, summary), panel.node) });
  }
  return built.get(id);
}

function heading(title, summary) {
  return element("div", { class: "panel-head" }, element("h2", {}, title), element("p", { class: "muted" }, summary));
}

function showFacts({ tasks, embedding_size: size, max_model_len: length }) {
  const facts = [
    size && tasks.includes("embed") ? counted(size, "dimension") : null,
    `${length.toLocaleString("en")} tokens at most`,
    `Tasks: ${tasks.join(", ")}`,
  ];
  byId("facts").hidden = false;
  byId("facts").replaceChildren(...facts.filter(Boolean).map((fact) => element("span", {}, fact)));
}

function showFailure(error) {
  if (!(error instanceof RequestError)) throw error;
  tabs.show([]);
  byId("facts").hidden = true;
  const isKeyMissing = error.status === 401;
  const message = isKeyMissing ? "This server needs an API key." : sentence(error.message);
  const retry = isKeyMissing
    ? element("button", { type: "button", class: "primary", click: () => keyDialog.open() }, "Enter the key")
    : element("button", { type: "button", click: start }, "Try again");
  byId("notice").replaceChildren(element("div", { class: "message error" }, element("p", {}, message), retry));
  if (isKeyMissing) keyDialog.open(storedKey() ? "The server does not accept this key." : "");
}

function updateKeyButton() {
  byId("key-button").classList.toggle("set", storedKey() !== "");
  byId("routes-link").hidden = storedKey() !== ""; // links cannot send the key
  byId("key-button").setAttribute("aria-label", storedKey() ? "API key: set" : "API key: not set");
}

byId("key-button").addEventListener("click", () => keyDialog.open());
byId("model").addEventListener("change", chooseModel);
start();
