// The page /docs: shows what openapi.json says, and sends requests for trying.

import { models } from "./connection.js";
import { byId, copyButton, element } from "./elements.js";
import * as store from "./store.js";

let told = {}; // the description
let model = ""; // the first that there is

function resolved(schema) {
  const path = schema?.$ref?.slice(2).split("/");
  return path ? path.reduce((part, name) => part[name], told) : schema || {};
}

// Such as "number from 0 to 2" or "list of texts".
function typeOf(given) {
  const schema = resolved(given);
  if (schema.const !== undefined) return JSON.stringify(schema.const);
  if (schema.enum) return schema.enum.filter((one) => one !== null).map((one) => JSON.stringify(one)).join(", ");
  const options = (schema.anyOf || []).map(typeOf).filter((text) => text && text !== "null");
  if (!schema.type && options.length) return [...new Set(options)].join(", or ");
  const type = [schema.type].flat().find((one) => one !== "null") || "";
  if (type === "array") return `list of ${typeOf(schema.items) || "value"}s`;
  const { minimum, maximum } = schema;
  const range = minimum !== undefined && maximum !== undefined ? ` from ${minimum} to ${maximum}` : "";
  return ({ string: "text", integer: "whole number", boolean: "true or false" }[type] || type) + range;
}

// A row for each field, and for those of the objects in them.
function rowsOf(schema, before = "") {
  const required = new Set(schema.required || []);
  return Object.entries(schema.properties || {}).flatMap(([name, one]) => [
    element(
      "tr",
      {},
      element("td", { class: "mono" }, before, required.has(name) ? element("strong", {}, name) : name),
      element("td", {}, typeOf(one)),
      element("td", {}, [required.has(name) ? "Must be there. " : "", resolved(one).description || ""].join(""))
    ),
    ...rowsOf(resolved(one), `${before}${name}.`),
  ]);
}

function fields(schema) {
  const rows = rowsOf(schema);
  if (!rows.length) return "";
  const head = element("tr", {}, ...["Field", "Value", "Meaning"].map((text) => element("th", { scope: "col" }, text)));
  const table = element("table", {}, element("thead", {}, head), element("tbody", {}, ...rows));
  return element("div", { class: "scroll", tabindex: "0", role: "group", "aria-label": "Fields" }, table);
}

function box(text) {
  return element("div", { class: "box" }, element("pre", { tabindex: "0" }, text), copyButton(() => text, "Copy"));
}

function address(path) {
  return new URL(`.${path}`, document.baseURI).href;
}

function command(method, path, example, needsKey) {
  const parts = [`curl ${address(path)}`];
  if (needsKey) parts.push('-H "Authorization: Bearer $RBE_API_KEY"');
  if (method === "post") parts.push("-H 'Content-Type: application/json'", `-d '${JSON.stringify(example).replaceAll("'", "'\\''")}'`);
  return parts.join(" \\\n  ");
}

function trial(method, path, example) {
  const place = element("input", { value: path, "aria-label": "Path", class: "mono" });
  const body = element("textarea", { rows: "6", "aria-label": "Body", spellcheck: "false" });
  body.value = JSON.stringify(example, null, 1);
  const output = element("pre", { tabindex: "0", "aria-live": "polite" });
  const frame = element("div", { class: "box", hidden: "" }, output);
  const send = element("button", { type: "submit", class: "first" }, "Send");
  const form = element("form", { class: "try" }, ...(path.includes("{") ? [place] : []), ...(method === "post" ? [body] : []), send, frame);
  form.addEventListener("submit", async (event) => {
    event.preventDefault();
    frame.hidden = false;
    send.disabled = true;
    await shown(output, method, place.value, body.value);
    send.disabled = false;
  });
  return element("details", {}, element("summary", {}, "Try it"), form);
}

async function shown(output, method, path, body) {
  output.textContent = "…";
  const headers = store.key() ? { Authorization: `Bearer ${store.key()}` } : {};
  if (method === "post") headers["Content-Type"] = "application/json";
  try {
    const response = await fetch(address(path), { method: method.toUpperCase(), headers, body: method === "post" ? body : undefined });
    output.textContent = `${response.status} ${response.statusText}\n\n`;
    const decoder = new TextDecoder();
    for (const reader = response.body.getReader(); ; ) {
      const { value, done } = await reader.read();
      if (done) break;
      output.textContent += decoder.decode(value, { stream: true });
    }
    if (response.headers.get("content-type") === "application/json") pretty(output);
  } catch {
    output.textContent += "The server cannot be reached, or the connection broke off.";
  }
}

function pretty(output) {
  const [head, ...rest] = output.textContent.split("\n\n");
  try {
    output.textContent = `${head}\n\n${JSON.stringify(JSON.parse(rest.join("\n\n")), null, 1)}`;
  } catch {
    // It stays as it came.
  }
}

function operation(path, method, one) {
  const content = one.requestBody?.content["application/json"];
  const schema = resolved(content?.schema);
  const example = { ...schema.example };
  if (model && example.model) example.model = model;
  const answers = Object.entries(one.responses || {}).map(([status, said]) =>
    element("tr", {}, element("td", { class: "mono" }, status), element("td", {}, said.description))
  );
  return element(
    "section",
    { id: one.operationId, "aria-labelledby": `${one.operationId}-name` },
    element("h3", { id: `${one.operationId}-name` }, element("span", { class: "method" }, method), element("span", { class: "mono" }, path)),
    element("p", {}, one.summary || ""),
    ...(one.description ? [element("p", { class: "soft" }, one.description)] : []),
    fields(schema),
    box(command(method, path, example, Boolean(one.security))),
    element("details", {}, element("summary", {}, "Answers"), element("table", {}, element("tbody", {}, ...answers))),
    trial(method, path, example)
  );
}

async function start() {
  byId("key").value = store.key();
  byId("key").addEventListener("input", (event) => store.keepKey(event.target.value));
  byId("key-form").addEventListener("submit", (event) => event.preventDefault());
  try {
    told = await (await fetch("openapi.json")).json();
  } catch {
    byId("about").textContent = "The server cannot be reached. Start it again with rbe serve, then load this page anew.";
    return;
  }
  byId("about").textContent = `${told.info.title} ${told.info.version}. ${told.info.description}`;
  byId("key-form").hidden = !told.components.securitySchemes;
  model = await models().then((all) => all[0]?.id, () => "");
  const groups = new Map((told.tags || []).map((tag) => [tag.name, []]));
  for (const [path, methods] of Object.entries(told.paths)) {
    for (const [method, one] of Object.entries(methods)) {
      const name = one.tags?.[0] || "Others";
      if (!groups.has(name)) groups.set(name, []);
      groups.get(name).push([path, method, one]);
    }
  }
  const links = [];
  for (const [name, all] of groups) {
    byId("operations").append(element("h2", {}, name), ...all.map((each) => operation(...each)));
    for (const [path, method, one] of all) {
      const words = [element("span", { class: "method" }, method), " ", element("span", { class: "mono" }, path), ` ${one.summary || ""}`];
      links.push(element("li", {}, element("a", { href: `#${one.operationId}` }, ...words)));
    }
  }
  byId("index").append(element("ul", {}, ...links));
}

start();
