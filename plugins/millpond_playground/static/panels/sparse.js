// Panel: the terms of sparse vectors with their weights, and the terms that a query and a document share.

import { bars, scoreLine } from "../bars.js";
import { element } from "../dom.js";
import { lineField, required, textField } from "../fields.js";
import { createPanel } from "../panel.js";
import { hasTask } from "../tasks.js";

const MAX_TERMS = 24;

export const sparse = {
  id: "sparse",
  title: "Sparse terms",
  summary: "The terms of a query and of a document with their weights, and the terms that both contain.",
  supports: hasTask("embed_sparse"),
  build(context) {
    const query = lineField({ label: "Query", value: "cheap flights to Rome" });
    const text = "Low-cost airlines fly to the Italian capital several times a day.";
    const passage = textField({ label: "Document", value: text, rows: 4 });
    return createPanel({
      context,
      fields: [query, passage],
      action: "Show terms",
      async compute(post) {
        const documents = [required(passage, "Document")];
        const options = { top_terms: MAX_TERMS, truncate_prompt_tokens: -1 };
        const body = { query: required(query, "Query"), documents, ...options };
        const { data, query_terms: queryTerms } = await post("explain", body);
        const { score, terms, shared } = data[0];
        const isShared = sharedBy(shared, queryTerms, terms);
        return [
          scoreLine(score),
          termList("Shared terms", shared, { note: "The largest products of the weights in query and document." }),
          element(
            "div",
            { class: "columns" },
            termList("Query", queryTerms, { isShared }),
            termList("Document", terms, { isShared }),
          ),
        ];
      },
    });
  },
};

/** Return a function that is true for terms of both texts; the lists contain only those with the largest weights. */
function sharedBy(shared, queryTerms, documentTerms) {
  const [sharedIds, queryIds, documentIds] = [shared, queryTerms, documentTerms].map(
    (terms) => new Set(terms.map((term) => term.token_id)),
  );
  return ({ token_id: id }) => sharedIds.has(id) || (queryIds.has(id) && documentIds.has(id));
}

function termList(title, terms, { isShared = () => false, note = null } = {}) {
  const items = terms.map((term) => ({ label: term.token, value: term.weight, isStrong: isShared(term) }));
  return element(
    "section",
    { class: "card" },
    element("h3", {}, title),
    note ? element("p", { class: "muted" }, note) : null,
    items.length ? bars(items, { label: title }) : element("p", { class: "muted" }, "None."),
  );
}
