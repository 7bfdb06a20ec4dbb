// Panel: search over documents while the query is typed. The vectors of the documents are computed once.

import { ranking } from "../bars.js";
import { debounced } from "../dom.js";
import { lineField, linesField, required, requiredLines } from "../fields.js";
import { cosine } from "../numbers.js";
import { createPanel } from "../panel.js";
import { canEmbedTexts } from "../tasks.js";
import { textEmbedder } from "../vectors.js";

const TYPING_PAUSE_MS = 250;
const SAMPLE = [
  "Water boils at a lower temperature at altitude, because the air pressure is lower.",
  "The wheel of the mill turns as the stream pushes against its paddles.",
  "Sourdough rises because wild yeast ferments the sugar in the flour.",
  "To reset the router, hold the button on its back for ten seconds.",
  "A heron stands motionless at the edge of the pond until a fish swims by.",
  "Solar cells turn light into electricity.",
  "The council postponed its vote until the budget is published.",
  "Snow reflects most of the sunlight that falls on it.",
];

export const search = {
  id: "search",
  title: "Search",
  summary: "Documents by the similarity of their vectors to the query. The list is updated as you type.",
  supports: canEmbedTexts,
  build(context) {
    const query = lineField({ label: "Query", value: "cooking at high altitude" });
    const documents = linesField({ label: "Documents", value: SAMPLE, rows: 10 });
    const embed = textEmbedder(context);
    const panel = createPanel({
      context,
      fields: [query, documents],
      action: "Search",
      async compute(post) {
        const text = required(query, "Query");
        const lines = requiredLines(documents, "Documents");
        const vectors = await embed(post, lines, "document");
        const [queryVector] = await embed(post, [text], "query");
        const ranks = vectors.map((vector, index) => ({ index, score: cosine(queryVector, vector) }));
        return ranking(
          ranks.sort((a, b) => b.score - a.score),
          lines,
        );
      },
    });
    const runWhenFilled = () => query.text() && panel.run();
    query.control.addEventListener("input", debounced(TYPING_PAUSE_MS, runWhenFilled));
    return panel;
  },
};
