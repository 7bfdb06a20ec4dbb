// Numbers: vectors from base64, cosine similarity, and their formats.

/** Return the vector in little-endian float32 values that base64 contains. */
export function decodeVector(base64) {
  const bytes = Uint8Array.from(atob(base64), (character) => character.charCodeAt(0));
  const view = new DataView(bytes.buffer);
  return Float32Array.from({ length: bytes.length / 4 }, (_, index) => view.getFloat32(4 * index, true));
}

/** Return the dot product of two vectors. */
export function dot(left, right) {
  let sum = 0;
  for (let index = 0; index < left.length; index += 1) sum += left[index] * right[index];
  return sum;
}

/** Return the cosine similarity of two vectors; 0 if one of them is zero. */
export function cosine(left, right) {
  const norms = Math.sqrt(dot(left, left) * dot(right, right));
  return norms === 0 ? 0 : dot(left, right) / norms;
}

/** Return the position of a value between two bounds, from 0 to 1. */
export function fraction(value, low, high) {
  if (high <= low) return 1;
  return Math.min(Math.max((value - low) / (high - low), 0), 1);
}

/**
 * Return the widths of bars for scores, from 0 to 1.
 *
 * Probabilities and cosines are shown as they are, negative ones as 0; other scores in proportion to the highest one.
 */
export function barWidths(scores) {
  const low = Math.min(0, ...scores);
  const high = Math.max(0, ...scores);
  if (low >= -1 && high <= 1) return scores.map((score) => Math.max(score, 0));
  return scores.map((score) => fraction(score, low, high));
}

/** Return a number with some digits after the point, with a true minus sign. */
export function fixed(value, digits = 2) {
  const text = value.toFixed(digits);
  const isZero = Number(text) === 0;
  return (isZero ? text.replace("-", "") : text).replace("-", "\u2212");
}

/** Return a number of milliseconds. */
export function duration(milliseconds) {
  return milliseconds < 10 ? `${milliseconds.toFixed(1)} ms` : `${Math.round(milliseconds).toLocaleString("en")} ms`;
}

/** Return a count with a noun, such as "1 token" or "1,200 tokens". */
export function counted(count, noun, plural = `${noun}s`) {
  return `${count.toLocaleString("en")} ${count === 1 ? noun : plural}`;
}
