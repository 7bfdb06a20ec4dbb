// What a model can do, from its entry in the list of models.

/** Return a function that is true for models with a task, such as `score`. */
export const hasTask = (name) => (model) => model.tasks.includes(name);

/** Return a function that is true for models with a capability, such as `classify`. */
export const hasCapability = (name) => (model) => model.capabilities.includes(name);

/** True if a model reads texts. */
export const readsTexts = (model) => model.modalities.includes("text");

/** True if a model turns texts into vectors that are compared by their cosine. */
export const canEmbedTexts = (model) => hasTask("embed")(model) && hasCapability("embed")(model) && readsTexts(model);

/** True if a model turns the tokens of texts into vectors. */
export const canCompareTokens = (model) =>
  hasTask("token_embed")(model) && hasCapability("embed")(model) && readsTexts(model);
