// Form fields of the panels: texts, lines, numbers and choices, each with a label.

import { element, uniqueId } from "./dom.js";

/** A problem of an input, found before anything is sent. */
export class InputError extends Error {
  constructor(message) {
    super(message);
    this.name = "InputError";
  }
}

function labelled(label, control, hint) {
  const id = uniqueId("field");
  control.id = id;
  const hintElement = hint ? element("p", { class: "hint", id: `${id}-hint` }, hint) : null;
  if (hintElement) control.setAttribute("aria-describedby", hintElement.id);
  return element("div", { class: "field" }, element("label", { for: id }, label), control, hintElement);
}

/** Return a field for a text of one or more lines: `node`, `control` and `text()`. */
export function textField({ label, value, rows = 3, hint = null }) {
  const control = element("textarea", { rows, value, spellcheck: "false", autocomplete: "off" });
  return { node: labelled(label, control, hint), control, text: () => control.value.trim() };
}

/** Return a field for one line of text: `node`, `control` and `text()`. */
export function lineField({ label, value, hint = null }) {
  const control = element("input", { type: "text", value, spellcheck: "false", autocomplete: "off" });
  return { node: labelled(label, control, hint), control, text: () => control.value.trim() };
}

/** Return a field with one text per line: `node`, `control` and `lines()`, which leaves out empty lines. */
export function linesField({ label, value, rows = 6, hint = "One per line." }) {
  const field = textField({ label, value: value.join("\n"), rows, hint });
  const lines = () =>
    field.control.value
      .split("\n")
      .map((line) => line.trim())
      .filter((line) => line !== "");
  return { ...field, lines };
}

/** Return a field for a whole number: `node`, `control` and `number()`, which is null for an empty field. */
export function numberField({ label, value, min, hint = null }) {
  const control = element("input", { type: "number", inputmode: "numeric", min, step: "1", value });
  const number = () => {
    if (control.value.trim() === "" && !control.validity.badInput) return null;
    if (!control.validity.valid) throw new InputError(`${label}: enter a whole number of at least ${min}`);
    return control.valueAsNumber;
  };
  return { node: labelled(label, control, hint), control, number };
}

/** Return a field to choose one of several values: `node`, `control` and `choice()`. */
export function choiceField({ label, choices, hint = null }) {
  const options = choices.map(([value, title]) => element("option", { value }, title));
  const control = element("select", {}, options);
  return { node: labelled(label, control, hint), control, choice: () => control.value };
}

/** Return the text of a field. Throws an InputError if it is empty. */
export function required(field, name) {
  const text = field.text();
  if (!text) throw new InputError(`${name} is empty: enter a text`);
  return text;
}

/** Return the lines of a field. Throws an InputError if there are too few. */
export function requiredLines(field, name, min = 1) {
  const lines = field.lines();
  if (lines.length >= min) return lines;
  const needed = min === 1 ? "at least one text" : `at least ${min} texts`;
  throw new InputError(`${name}: enter ${needed}, one per line`);
}
