// Vectors of texts and images from the server, kept while the page is open.

import { InputError } from "./fields.js";
import { decodeVector } from "./numbers.js";

const MAX_TEXTS_PER_REQUEST = 256;
const MAX_KEPT_VECTORS = 5000;

/**
 * Return a function that embeds texts. Vectors of texts that were sent before are reused, except those of requests with a
 * truncated text, so that each result reports it.
 */
export function textEmbedder(context) {
  const kept = new Map();

  return async function embed(post, texts, inputType) {
    const keyOf = (text) => JSON.stringify([context.model.id, inputType, text]);
    const missing = [...new Set(texts.filter((text) => !kept.has(keyOf(text))))];
    if (kept.size + missing.length > MAX_KEPT_VECTORS) kept.clear();
    const vectors = new Map(kept);
    const wanted = kept.size ? missing : [...new Set(texts)];
    for (let start = 0; start < wanted.length; start += MAX_TEXTS_PER_REQUEST) {
      const input = wanted.slice(start, start + MAX_TEXTS_PER_REQUEST);
      const options = { encoding_format: "base64", truncate_prompt_tokens: -1 };
      const numTruncated = post.numTruncated();
      const { data } = await post("v1/embeddings", { input, ...options, ...(inputType && { input_type: inputType }) });
      for (const { index, embedding } of data) {
        const vector = checkedVector(decodeVector(embedding), context.model);
        vectors.set(keyOf(input[index]), vector);
        if (post.numTruncated() === numTruncated) kept.set(keyOf(input[index]), vector);
      }
    }
    return texts.map((text) => vectors.get(keyOf(text)));
  };
}

/** Return the vector of a text. Throws an InputError if it is the vectors of several tokens. */
function checkedVector(vector, { id, embedding_size: size }) {
  if (!size || vector.length <= size || vector.length % size) return vector;
  throw new InputError(
    `${id} returns one vector per token, and this tab compares one vector per text. Use the tab Token matches, or start ` +
      "the server without the task token_embed in --pooler-config",
  );
}

/** Return a function that embeds one image; the vector of an image that was sent before is reused. */
export function imageEmbedder(context) {
  const kept = new WeakMap();

  return async function embed(post, image) {
    const vectors = kept.get(image) ?? new Map();
    kept.set(image, vectors);
    if (!vectors.has(context.model.id)) {
      const { data } = await post("embeddings_image", { input: [image.dataUrl], encoding_format: "base64" });
      vectors.set(context.model.id, decodeVector(data[0].embedding));
    }
    return vectors.get(context.model.id);
  };
}
