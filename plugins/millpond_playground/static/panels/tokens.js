// Panel: the tokens of a text, and those that truncation removes.

import { element } from "../dom.js";
import { choiceField, numberField, required, textField } from "../fields.js";
import { counted } from "../numbers.js";
import { createPanel } from "../panel.js";
import { readsTexts } from "../tasks.js";

const SAMPLE =
  "Tokenizers split rare words, such as antidisestablishmentarianism, into pieces. Numbers like 1234567 and emoji " +
  "\u{1F986} often need several tokens as well. Text after the limit is not read by the model.";
const SIDES = [
  ["right", "the end"],
  ["left", "the start"],
];

export const tokens = {
  id: "tokens",
  title: "Tokens",
  summary: "How the tokenizer splits a text, and what is lost if the text is longer than the limit.",
  supports: readsTexts,
  build(context) {
    const text = textField({ label: "Text", value: SAMPLE, rows: 6 });
    const hint = "Empty for the maximum.";
    const limit = numberField({ label: "Token limit", value: "32", min: 1, hint });
    const side = choiceField({ label: "Removed from", choices: SIDES });
    return createPanel({
      context,
      fields: [text, { node: element("div", { class: "field-row" }, limit.node, side.node) }],
      action: "Show tokens",
      async compute(post) {
        const longest = context.model.max_model_len;
        const max = Math.min(limit.number() ?? longest, longest);
        const [rows] = await post("tei/tokenize", { inputs: required(text, "Text") });
        const isKept = keptTokens(rows, max, side.choice());
        return [counts(rows, isKept, max, longest), tokenList(rows, isKept)];
      },
    });
  },
};

/** Return which tokens remain: the special tokens at both ends, and the first or last ones between them. */
export function keptTokens(rows, max, side) {
  const isEnd = rows.map((row) => row.special);
  const first = isEnd.indexOf(false) === -1 ? rows.length : isEnd.indexOf(false);
  const last = isEnd.lastIndexOf(false);
  const length = Math.max(last - first + 1, 0);
  const room = Math.max(max - (rows.length - length), 0);
  const dropped = Math.max(length - room, 0);
  return rows.map((_, index) => {
    if (index < first || index > last) return true;
    return side === "left" ? index - first >= dropped : index - first < length - dropped;
  });
}

function counts(rows, isKept, max, longest) {
  const kept = isKept.filter(Boolean).length;
  const parts = [
    ["tokens", rows.length, counted(rows.length, "token")],
    ["kept", kept, `${kept.toLocaleString("en")} kept`],
    ["dropped", rows.length - kept, `${(rows.length - kept).toLocaleString("en")} removed`],
  ];
  return element(
    "p",
    { class: "counts" },
    parts.map(([name, value, title]) => element("span", { class: name, "data-value": value }, title)),
    element("span", { class: "muted" }, `limit ${max.toLocaleString("en")} of ${longest.toLocaleString("en")}`),
  );
}

function tokenList(rows, isKept) {
  return element(
    "ol",
    { class: "card tokens", "aria-label": "Tokens", tabindex: "0" },
    rows.map((row, index) => {
      const classes = [row.special ? "special" : "", isKept[index] ? "" : "dropped"].filter(Boolean).join(" ");
      const place = row.start === null ? "" : `, characters ${row.start} to ${row.stop}`;
      return element(
        "li",
        { class: classes || null, title: `id ${row.id}${place}` },
        element("span", { class: "token-text" }, visible(row.text)),
        element("span", { class: "token-id" }, row.id),
        isKept[index] ? null : element("span", { class: "hidden-label" }, " removed"),
      );
    }),
  );
}

/** Return the text of a token with visible line breaks and spaces. */
function visible(text) {
  if (text === "") return "\u2205";
  return text.replaceAll("\n", "\u21b5").replaceAll("\t", "\u21e5").replaceAll(" ", "\u00b7");
}
