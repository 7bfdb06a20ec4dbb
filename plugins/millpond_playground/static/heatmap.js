// Heatmap: a matrix as a table of colours, which is read with the pointer or the arrow keys.

import { element } from "./dom.js";
import { fixed, fraction } from "./numbers.js";

const MAX_COLUMNS_WITH_NUMBERS = 8;
const MIDDLE = 0.58; // from these positions on, the colour of a cell needs a different text colour
const HIGH = 0.75;
const MOVES = { ArrowUp: [-1, 0], ArrowDown: [1, 0], ArrowLeft: [0, -1], ArrowRight: [0, 1] };

/**
 * Return a figure with a heatmap.
 *
 * @param {Object} options
 * @param {string} options.label The name of the table for screen readers.
 * @param {{label: string|Node, title: string}[]} options.rows The rows; the title is shown for a chosen cell.
 * @param {{label: string|Node, title: string}[]} options.columns The columns.
 * @param {number[][]} options.values [rows, columns]
 * @param {number} options.low The value of the palest colour.
 * @param {number} options.high The value of the strongest colour.
 * @param {boolean} [options.isVertical] True if the labels of columns are written from top to bottom.
 * @param {boolean} [options.isSymmetric] True if rows and columns are the same texts.
 * @param {function} [options.isMarked] (row, column) -> true for a cell with a frame.
 */
export function heatmap({ label, rows, columns, values, low, high, ...options }) {
  const { isVertical = false, isSymmetric = false, isMarked = () => false } = options;
  const hasNumbers = columns.length <= MAX_COLUMNS_WITH_NUMBERS;
  const readout = element("p", { class: "readout" }); // not announced: the names of cells contain it
  const rowHeads = rows.map((row) => element("th", { scope: "row", title: row.title }, row.label));
  const columnHeads = columns.map((column) =>
    element("th", { scope: "col", title: column.title }, element("span", {}, column.label)),
  );
  const cells = values.map((row, rowIndex) =>
    row.map((value, columnIndex) => {
      const position = fraction(value, low, high);
      const level = position >= HIGH ? "high" : "middle";
      const classes = [position >= MIDDLE ? level : "", isMarked(rowIndex, columnIndex) ? "marked" : ""];
      return element(
        "td",
        {
          role: "gridcell",
          class: classes.filter(Boolean).join(" ") || null,
          tabindex: rowIndex === 0 && columnIndex === 0 ? "0" : "-1",
          "data-value": value,
          "aria-label": `${rows[rowIndex].title}, ${columns[columnIndex].title}: ${fixed(value, 3)}`,
          vars: { "--position": position },
        },
        hasNumbers ? fixed(value) : "",
      );
    }),
  );

  function choose(row, column) {
    for (const [index, head] of rowHeads.entries()) head.classList.toggle("chosen", index === row);
    for (const [index, head] of columnHeads.entries()) head.classList.toggle("chosen", index === column);
    readout.replaceChildren(
      element("strong", {}, fixed(values[row][column], 4)),
      element("span", {}, rows[row].title),
      element("span", {}, columns[column].title),
    );
  }

  function positionOf(target) {
    const cell = target.closest("td");
    const row = cell ? cells.findIndex((candidates) => candidates.includes(cell)) : -1;
    return row < 0 ? null : [row, cells[row].indexOf(cell)];
  }

  function onKey(event) {
    const at = positionOf(event.target);
    if (!at || event.ctrlKey || event.metaKey || event.altKey) return;
    const [row, column] = at;
    const move = MOVES[event.key];
    let next = null;
    if (move) next = [row + move[0], column + move[1]];
    else if (event.key === "Home") next = [row, 0];
    else if (event.key === "End") next = [row, columns.length - 1];
    const cell = next && cells[next[0]]?.[next[1]];
    if (!next) return;
    event.preventDefault();
    if (!cell) return;
    cells[row][column].tabIndex = -1;
    cell.tabIndex = 0;
    cell.focus();
  }

  const onPoint = (event) => {
    const at = positionOf(event.target);
    if (at) choose(...at);
  };
  const table = element(
    "table",
    {
      class: ["heatmap", hasNumbers ? "" : "dense", isVertical ? "vertical" : ""].filter(Boolean).join(" "),
      role: "grid",
      "aria-label": label,
      keydown: onKey,
      focusin: onPoint,
      pointerover: onPoint,
    },
    element("thead", {}, element("tr", {}, element("td", { role: "none" }), columnHeads)),
    element(
      "tbody",
      {},
      cells.map((row, index) => element("tr", {}, rowHeads[index], row)),
    ),
  );
  const figure = element(
    "figure",
    { class: "heatmap-figure" },
    element("div", { class: "scroll" }, table),
    element("figcaption", {}, readout, scale(low, high)),
  );
  choose(...highestCell(values, isSymmetric));
  return figure;
}

/** Return the row and column of the highest value; without the diagonal for a symmetric matrix. */
function highestCell(values, isSymmetric) {
  let best = null;
  for (const [row, rowValues] of values.entries()) {
    for (const [column, value] of rowValues.entries()) {
      const isCandidate = !isSymmetric || row !== column;
      if (isCandidate && (best === null || value > values[best[0]][best[1]])) best = [row, column];
    }
  }
  return best ?? [0, 0];
}

function scale(low, high) {
  return element(
    "div",
    { class: "scale", "aria-hidden": "true" },
    element("span", {}, fixed(low)),
    element("span", { class: "scale-bar" }),
    element("span", {}, fixed(high)),
  );
}

/** Return the labels of texts for rows or columns: their numbers, with the text for rows. */
export function textLabels(texts, { isShort = false } = {}) {
  return texts.map((text, index) => {
    const number = element("span", { class: "number" }, index + 1);
    return { title: text, label: isShort ? number : element("span", { class: "row-label" }, number, ` ${text}`) };
  });
}
