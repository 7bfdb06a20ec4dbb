// Clients for Node.js: openai, cohere-ai, the AI SDK and langchain; writes the same report as report.py.

import assert from "node:assert/strict";
import { createOpenAICompatible } from "@ai-sdk/openai-compatible";
import { OpenAIEmbeddings } from "@langchain/openai";
import { embed, embedMany } from "ai";
import { CohereClientV2 } from "cohere-ai";
import OpenAI from "openai";

const ADDRESS = process.argv[2];
const MODEL = "all-MiniLM-L6-v2";
const MODELS = (process.env.TEST_CLIENTS_MODELS ?? MODEL).split(","); // all models of the server
const TEXTS = ["a cup of tea", "the old mill by the pond", "Grüße aus 東京"];
const QUERY = "where does the mill stand?";
const DOCUMENTS = ["snow and ice", "the old mill stands by the pond", "a mill", "tea"];
const IDS = [101, 1037, 2452, 1997, 5572, 102];
const report = { vectors: [], ranks: [] };
const vectors = (name, inputs, values) =>
  report.vectors.push({ case: name, inputs, values: values.map((vector) => [...vector]) });
const ranks = (name, results) => report.ranks.push({ case: name, query: QUERY, documents: DOCUMENTS, results });

// openai
const client = new OpenAI({ baseURL: `${ADDRESS}/v1`, apiKey: "EMPTY", maxRetries: 0 });
for (const [name, inputs, body] of [
  ["a text", TEXTS.slice(0, 1), { input: TEXTS[0] }],
  ["texts", TEXTS, { input: TEXTS }],
  ["token ids", [IDS], { input: IDS }],
  ["numbers", TEXTS, { input: TEXTS, encoding_format: "float" }],
  ["its full size", TEXTS, { input: TEXTS, dimensions: 384 }],
]) {
  const answer = await client.embeddings.create({ model: MODEL, ...body });
  vectors(`openai, ${name}`, inputs, answer.data.map((item) => item.embedding));
  assert.equal(answer.usage.prompt_tokens, answer.usage.total_tokens);
}
const coded = await client.embeddings.create({ model: MODEL, input: TEXTS, encoding_format: "base64" });
assert.equal(typeof coded.data[0].embedding, "string");
const listed = await client.models.list();
assert.deepEqual(listed.data.map((model) => model.id), MODELS);
assert.equal((await client.models.retrieve(MODEL)).owned_by, "millpond");
await assert.rejects(client.embeddings.create({ model: "org/nope", input: "a" }), (error) => {
  assert(error instanceof OpenAI.NotFoundError);
  assert(error.requestID);
  assert.match(error.message, /org\/nope/);
  return true;
});
await assert.rejects(client.embeddings.create({ model: MODEL, input: "" }), OpenAI.BadRequestError);

// cohere-ai
const cohere = new CohereClientV2({ environment: ADDRESS, token: "EMPTY" });
const kinds = ["float", "int8", "ubinary"];
const embedded = await cohere.embed({ model: MODEL, texts: TEXTS, inputType: "search_document", embeddingTypes: kinds });
vectors("cohere-ai", TEXTS, embedded.embeddings.float);
assert.equal(embedded.embeddings.ubinary[0].length, 48);
assert.equal(embedded.embeddings.int8[0].length, 384);
const reranked = await cohere.rerank({ model: MODEL, query: QUERY, documents: DOCUMENTS, topN: 3 });
ranks("cohere-ai", reranked.results.map((one) => [one.index, one.relevanceScore]));

// the AI SDK
const provider = createOpenAICompatible({ name: "millpond", baseURL: `${ADDRESS}/v1`, apiKey: "EMPTY" });
const model = provider.textEmbeddingModel(MODEL);
vectors("ai, a text", TEXTS.slice(0, 1), [(await embed({ model, value: TEXTS[0] })).embedding]);
vectors("ai, texts", TEXTS, (await embedMany({ model, values: TEXTS })).embeddings);

// langchain
const chain = new OpenAIEmbeddings({ model: MODEL, apiKey: "EMPTY", configuration: { baseURL: `${ADDRESS}/v1` } });
vectors("langchain, documents", TEXTS, await chain.embedDocuments(TEXTS));
vectors("langchain, a query", TEXTS.slice(0, 1), [await chain.embedQuery(TEXTS[0])]);

process.stdout.write(JSON.stringify(report));
