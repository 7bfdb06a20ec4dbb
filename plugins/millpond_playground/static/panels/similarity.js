// Panel: the similarities of all pairs of texts.

import { element } from "../dom.js";
import { linesField, requiredLines } from "../fields.js";
import { heatmap, textLabels } from "../heatmap.js";
import { cosine, fixed } from "../numbers.js";
import { createPanel } from "../panel.js";
import { canEmbedTexts } from "../tasks.js";
import { textEmbedder } from "../vectors.js";

const LABEL = "Cosine similarity of the texts";
const MAX_PAIRS = 3;
const SAMPLE = [
  "How do I reset my password?",
  "I forgot the login for my account.",
  "When will my parcel arrive?",
  "The delivery is three days late.",
  "Simmer the rice in hot stock.",
  "A recipe for mushroom risotto",
];

export const similarity = {
  id: "similarity",
  title: "Similarity",
  summary: "How close the meanings of texts are: the cosine of their vectors.",
  supports: canEmbedTexts,
  build(context) {
    const texts = linesField({ label: "Texts", value: SAMPLE, rows: 8 });
    const embed = textEmbedder(context);
    return createPanel({
      context,
      fields: [texts],
      action: "Compare",
      async compute(post) {
        const lines = requiredLines(texts, "Texts", 2);
        const vectors = await embed(post, lines);
        const values = vectors.map((left) => vectors.map((right) => cosine(left, right)));
        const columns = textLabels(lines, { isShort: true });
        const low = Math.min(0, ...values.flat());
        return [
          heatmap({ label: LABEL, rows: textLabels(lines), columns, values, low, high: 1, isSymmetric: true }),
          closestPairs(lines, values),
        ];
      },
    });
  },
};

function closestPairs(lines, values) {
  const pairs = lines.flatMap((left, row) =>
    lines.slice(row + 1).map((right, offset) => ({ left, right, value: values[row][row + 1 + offset] })),
  );
  const closest = pairs.sort((a, b) => b.value - a.value).slice(0, MAX_PAIRS);
  return element(
    "section",
    { class: "pairs" },
    element("h3", {}, "Closest"),
    element(
      "ol",
      {},
      closest.map(({ left, right, value }) =>
        element("li", {}, element("strong", {}, fixed(value)), element("span", {}, left), element("span", {}, right)),
      ),
    ),
  );
}
