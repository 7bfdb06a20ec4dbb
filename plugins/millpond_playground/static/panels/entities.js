// Panel: the named entities of a text, highlighted in it.

import { element } from "../dom.js";
import { choiceField, required, textField } from "../fields.js";
import { counted, fixed } from "../numbers.js";
import { createPanel } from "../panel.js";
import { hasTask } from "../tasks.js";

const NUM_HUES = 6; // of the highlights: the classes hue-0 to hue-5
const SAMPLE =
  "Ada Lovelace met Charles Babbage in London in 1833. Her notes on the Analytical Engine were printed by Taylor, " +
  "and the Bodleian Library in Oxford keeps her letters.";
const AGGREGATIONS = [
  ["simple", "simple: join tokens with the same label"],
  ["first", "first: the label of a word's first token"],
  ["average", "average: the mean over a word's tokens"],
  ["max", "max: the best score of a word's tokens"],
  ["none", "none: each token alone"],
];

export const entities = {
  id: "entities",
  title: "Entities",
  summary: "Names of persons, places and other things, with the labels of the model.",
  supports: hasTask("entities"),
  build(context) {
    const text = textField({ label: "Text", value: SAMPLE, rows: 6 });
    const aggregation = choiceField({ label: "Aggregation", choices: AGGREGATIONS });
    return createPanel({
      context,
      fields: [text, aggregation],
      action: "Find entities",
      async compute(post) {
        const input = required(text, "Text");
        const { data } = await post("entities", { input: [input], aggregation: aggregation.choice() });
        const found = data[0].entities;
        const labels = [...new Set(found.map((entity) => entity.label))].sort();
        const hueOf = (label) => `hue-${labels.indexOf(label) % NUM_HUES}`;
        if (!found.length) return [highlighted(input, found, hueOf), element("p", { class: "muted" }, "No entities.")];
        return [highlighted(input, found, hueOf), table(found, hueOf)];
      },
    });
  },
};

/** Return the text with its entities marked. The positions count code points, and strings of this language UTF-16. */
function highlighted(text, found, hueOf) {
  const characters = Array.from(text);
  const parts = [];
  let end = 0;
  for (const entity of [...found].sort((a, b) => a.start - b.start)) {
    if (entity.start < end) continue; // inside of the previous one
    parts.push(characters.slice(end, entity.start).join(""));
    parts.push(
      element(
        "mark",
        { class: `entity ${hueOf(entity.label)}`, title: `${entity.label} ${fixed(entity.score, 4)}` },
        characters.slice(entity.start, entity.end).join(""),
        element("span", { class: "entity-label" }, entity.label),
      ),
    );
    end = entity.end;
  }
  parts.push(characters.slice(end).join(""));
  return element("p", { class: "card passage" }, parts);
}

function table(found, hueOf) {
  return element(
    "div",
    { class: "scroll", tabindex: "0", role: "region", "aria-label": "Table of entities" },
    element(
      "table",
      { class: "plain" },
      element("caption", {}, counted(found.length, "entity", "entities")),
      element("thead", {}, element("tr", {}, ["Text", "Label", "Score", "Position"].map(heading))),
      element(
        "tbody",
        {},
        found.map(({ text, label, score, start, end }) =>
          element(
            "tr",
            {},
            element("td", {}, text),
            element("td", {}, element("span", { class: `tag ${hueOf(label)}` }, label)),
            element("td", { class: "numeric", "data-value": score }, fixed(score, 3)),
            element("td", { class: "numeric" }, `${start}\u2013${end}`),
          ),
        ),
      ),
    ),
  );
}

const heading = (text) => element("th", { scope: "col" }, text);
