// Panel: the classes of texts, as bars.

import { bars } from "../bars.js";
import { element } from "../dom.js";
import { linesField, requiredLines } from "../fields.js";
import { createPanel } from "../panel.js";
import { hasCapability } from "../tasks.js";

const MAX_CLASSES = 8;
const SAMPLE = [
  "This is exactly what I hoped for, thank you!",
  "The handle broke on the first day, and nobody answers.",
  "The parcel contains a lamp and a cable.",
];

export const classify = {
  id: "classify",
  title: "Classify",
  summary: "The classes of the model and their scores for each text.",
  supports: hasCapability("classify"),
  build(context) {
    const texts = linesField({ label: "Texts", value: SAMPLE });
    return createPanel({
      context,
      fields: [texts],
      action: "Classify",
      async compute(post) {
        const input = requiredLines(texts, "Texts");
        const { data } = await post("infinity/classify", { input });
        return input.map((text, index) => classesOf(text, data[index]));
      },
    });
  },
};

function classesOf(text, classes) {
  const items = classes.map(({ label, score }, place) => ({ label, value: score, isStrong: place === 0 }));
  const hidden = items.slice(MAX_CLASSES);
  return element(
    "section",
    { class: "card" },
    element("h3", { class: "quote" }, text),
    bars(items.slice(0, MAX_CLASSES), { label: `Classes of ${text}` }),
    hidden.length
      ? element(
          "details",
          { class: "more" },
          element("summary", {}, `${hidden.length} more`),
          bars(hidden, { label: `More classes of ${text}` }),
        )
      : null,
  );
}
