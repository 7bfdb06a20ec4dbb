// Panel: documents ranked by the model's own scores, with their moves from the order of the input.

import { ranking } from "../bars.js";
import { lineField, linesField, required, requiredLines } from "../fields.js";
import { createPanel } from "../panel.js";
import { hasTask } from "../tasks.js";

const SAMPLE = [
  "Flour is sold in bags of one or two kilograms.",
  "The village has a church, a school and a shop.",
  "The river turns the wheel, the wheel turns the stone, and the stone grinds the grain.",
  "Windmills were common on the coast.",
  "Grain is poured into the eye of the upper millstone and leaves at its edge as flour.",
  "Bread should cool before it is cut.",
];

export const rerank = {
  id: "rerank",
  title: "Rerank",
  summary: "Documents in the order of their relevance to a query, and how many places each one moves.",
  supports: hasTask("score"),
  build(context) {
    const query = lineField({ label: "Query", value: "How does a watermill make flour?" });
    const documents = linesField({ label: "Documents", value: SAMPLE, rows: 9 });
    return createPanel({
      context,
      fields: [query, documents],
      action: "Rerank",
      async compute(post) {
        const text = required(query, "Query");
        const lines = requiredLines(documents, "Documents");
        const options = { return_documents: false, truncate_prompt_tokens: -1 };
        const { results } = await post("v1/rerank", { query: text, documents: lines, ...options });
        const ranks = results.map((result) => ({ index: result.index, score: result.relevance_score }));
        return ranking(ranks, lines, { showsMoves: true });
      },
    });
  },
};
