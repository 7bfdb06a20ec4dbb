// Panel: the similarities of the tokens of a query and of a document, whose maxima make up the MaxSim score.

import { scoreLine } from "../bars.js";
import { element } from "../dom.js";
import { lineField, required, textField } from "../fields.js";
import { heatmap } from "../heatmap.js";
import { createPanel } from "../panel.js";
import { canCompareTokens } from "../tasks.js";

export const maxsim = {
  id: "maxsim",
  title: "Token matches",
  summary: "Which tokens of a document match each token of a query (MaxSim). Frames mark the best match of each row.",
  supports: canCompareTokens,
  build(context) {
    const query = lineField({ label: "Query", value: "why is the sky blue" });
    const text = "Air scatters sunlight, and blue light the most.";
    const passage = textField({ label: "Document", value: text, rows: 4 });
    return createPanel({
      context,
      fields: [query, passage],
      action: "Match tokens",
      async compute(post) {
        const documents = [required(passage, "Document")];
        const options = { return_similarities: true, truncate_prompt_tokens: -1 };
        const { data } = await post("explain", { query: required(query, "Query"), documents, ...options });
        return [scoreLine(data[0].score), matches(data[0])];
      },
    });
  },
};

function matches({ similarities, query_tokens: queryTokens, document_tokens: documentTokens }) {
  const flat = similarities.flat();
  if (!flat.length) return element("p", { class: "muted" }, "The model has no vectors for these tokens.");
  const best = similarities.map((row) => row.indexOf(Math.max(...row)));
  return heatmap({
    label: "Similarities of the tokens; rows are tokens of the query, columns are tokens of the document",
    rows: queryTokens.map(tokenLabel),
    columns: documentTokens.map(tokenLabel),
    values: similarities,
    low: Math.min(...flat),
    high: Math.max(...flat),
    isVertical: true,
    isMarked: (row, column) => best[row] === column,
  });
}

/** Return the label of a token; the vectors of models that join similar tokens have none. */
function tokenLabel(token, index) {
  const title = token ?? `vector ${index + 1}`;
  return { title, label: element("code", {}, title) };
}
