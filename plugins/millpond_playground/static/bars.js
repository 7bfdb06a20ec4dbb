// Scores: a list of names with bars, ranked documents, and a single score.

import { element } from "./dom.js";
import { barWidths, fixed } from "./numbers.js";

/**
 * Return a list of names with bars.
 *
 * @param {{label: string, value: number, isStrong?: boolean}[]} items The items, in the order to show.
 * @param {Object} [options] `widths` are those of the bars from 0 to 1, `digits` the digits of the values.
 */
export function bars(items, { widths = barWidths(items.map((item) => item.value)), digits = 3, label = null } = {}) {
  return element(
    "ol",
    { class: "bars", "aria-label": label },
    items.map((item, index) =>
      element(
        "li",
        { class: item.isStrong ? "strong" : null },
        element("span", { class: "bar-label", title: item.label }, item.label),
        element("span", { class: "bar-track", "aria-hidden": "true" }, bar(widths[index])),
        element("span", { class: "bar-value", "data-value": item.value }, fixed(item.value, digits)),
      ),
    ),
  );
}

const bar = (width) => element("span", { class: "bar-fill", vars: { "--width": width } });

/**
 * Return a ranked list of documents.
 *
 * @param {{index: number, score: number}[]} ranks The documents, best first; `index` is the place in the input.
 * @param {string[]} documents The documents in the order of the input.
 * @param {Object} [options] `showsMoves` shows how far each document has moved from its place in the input.
 */
export function ranking(ranks, documents, { showsMoves = false } = {}) {
  const widths = barWidths(ranks.map((rank) => rank.score));
  return element(
    "ol",
    { class: "ranking", "aria-label": "Documents, most relevant first" },
    ranks.map(({ index, score }, place) =>
      element(
        "li",
        { "data-index": index },
        element("span", { class: "place", "aria-hidden": "true" }, place + 1),
        element(
          "div",
          { class: "ranked" },
          element("p", { class: "document" }, documents[index]),
          element(
            "div",
            { class: "ranked-score" },
            element("span", { class: "bar-track", "aria-hidden": "true" }, bar(widths[place])),
            element("span", { class: "bar-value", "data-value": score }, fixed(score, 4)),
            showsMoves ? move(index - place) : null,
          ),
        ),
      ),
    ),
  );
}

function move(places) {
  if (places === 0) return element("span", { class: "move", "aria-label": "same place as in the input" }, "=");
  const isUp = places > 0;
  const text = `${isUp ? "\u2191" : "\u2193"}${Math.abs(places)}`;
  const label = `${Math.abs(places)} ${isUp ? "up" : "down"} from its place in the input`;
  return element("span", { class: `move ${isUp ? "up" : "down"}`, role: "img", "aria-label": label }, text);
}

/** Return a line with a score. */
export function scoreLine(score) {
  return element(
    "p",
    { class: "score" },
    element("span", { class: "muted" }, "Score "),
    element("strong", { "data-value": score }, fixed(score, 3)),
  );
}
