// Renders the routes of openapi.json, each with its fields and a form to send a request.
"use strict";

const element = (name, text, attributes = {}) => {
  const created = Object.assign(document.createElement(name), attributes);
  if (text !== undefined) created.textContent = text;
  return created;
};

const typeOf = (schema) => {
  if (schema.$ref) return schema.$ref.split("/").pop();
  if (schema.const !== undefined) return JSON.stringify(schema.const);
  if (schema.enum) return schema.enum.map((value) => JSON.stringify(value)).join(" | ");
  const alternatives = schema.anyOf || schema.oneOf;
  if (alternatives) return alternatives.map(typeOf).filter((type) => type !== "null").join(" | ");
  if (schema.type === "array") return `list of ${schema.items ? typeOf(schema.items) : "anything"}`;
  return schema.type || "anything";
};

const fieldsOf = (schema, schemas) => {
  const resolved = schema.$ref ? schemas[typeOf(schema)] : schema;
  const required = new Set(resolved.required || []);
  const table = element("table");
  const head = table.insertRow();
  for (const title of ["field", "type", "default"]) head.append(element("th", title));
  for (const [name, field] of Object.entries(resolved.properties || {})) {
    const row = table.insertRow();
    row.insertCell().append(element("code", name));
    row.insertCell().textContent = typeOf(field);
    row.insertCell().textContent = required.has(name) ? "required" : JSON.stringify(field.default ?? null);
  }
  return table;
};

const headers = () => {
  const key = document.getElementById("key").value;
  return { "content-type": "application/json", ...(key ? { authorization: `Bearer ${key}` } : {}) };
};

const form = (path, method, hasBody) => {
  const box = element("div");
  const body = element("textarea", hasBody ? '{"input": "a cup of tea"}' : "", { ariaLabel: "body" });
  const response = element("pre", "", { hidden: true });
  const send = element("button", "Send");
  send.addEventListener("click", async () => {
    response.hidden = false;
    response.textContent = "...";
    try {
      const reply = await fetch(`.${path}`, { method, headers: headers(), body: hasBody ? body.value : undefined });
      response.textContent = `${reply.status}\n${(await reply.text()).slice(0, 20000)}`;
    } catch (error) {
      response.textContent = String(error);
    }
  });
  if (hasBody) box.append(body);
  box.append(send, response);
  return box;
};

const render = (description) => {
  document.getElementById("version").textContent = description.info.version;
  const groups = new Map();
  for (const [path, methods] of Object.entries(description.paths)) {
    const first = path.split("/")[1];
    const group = ["vllm", "cohere", "jina", "infinity", "tei"].includes(first) ? `Under /${first}` : "At the root";
    for (const [method, operation] of Object.entries(methods)) {
      if (!groups.has(group)) groups.set(group, []);
      groups.get(group).push([path, method.toUpperCase(), operation]);
    }
  }
  for (const [title, routes] of groups) {
    const section = element("section");
    section.append(element("h2", title));
    for (const [path, method, operation] of routes) {
      const row = element("details");
      const line = element("summary");
      line.append(element("span", method, { className: "method" }), element("code", path), ` ${operation.summary}`);
      row.append(line);
      row.addEventListener("toggle", () => {
        if (!row.open || row.childElementCount > 1) return;
        const schema = operation.requestBody?.content["application/json"].schema;
        if (schema) row.append(fieldsOf(schema, description.components.schemas));
        row.append(form(path, method, method === "POST"));
      });
      section.append(row);
    }
    document.getElementById("routes").append(section);
  }
};

fetch("openapi.json", { headers: headers() })
  .then((reply) => (reply.ok ? reply.json() : Promise.reject(new Error(`openapi.json: ${reply.status}`))))
  .then(render)
  .catch((error) => document.getElementById("routes").append(element("p", String(error))));
