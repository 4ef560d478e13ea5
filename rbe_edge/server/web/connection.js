// The server: its models, and answers as they come. Addresses are relative, so that a proxy may put the page anywhere.

import { key } from "./store.js";

// advice: what a person can do about it. kind: "gone", "key", "busy", "long", "cut", "other".
export class ServerError extends Error {
  constructor(kind, message, advice = "") {
    super(message);
    this.kind = kind;
    this.advice = advice;
  }
}

async function ask(path, options = {}) {
  const headers = { ...options.headers };
  if (key()) headers.Authorization = `Bearer ${key()}`;
  let response;
  try {
    response = await fetch(path, { ...options, headers });
  } catch (error) {
    if (error.name === "AbortError") throw error;
    throw new ServerError("gone", "The server cannot be reached.", "Start it again with rbe serve, or look whether this device has a network.");
  }
  if (!response.ok) throw await refusal(response);
  return response;
}

async function refusal(response) {
  const told = await response.json().then((body) => body.error || {}, () => ({})); // a proxy's is no JSON
  return understood(response.status, told, response.headers.get("Retry-After"));
}

function understood(status, told, wait) {
  const message = String(told.message || `The server answered with status ${status}.`);
  const later = Number(wait) > 0 ? `in ${Math.ceil(Number(wait))} s` : "in a moment";
  if (status === 401) return new ServerError("key", "The server needs its API key.");
  if (told.code === "context_length_exceeded") {
    return new ServerError("long", "The conversation no longer fits into the model's memory.", "Start a new one, or edit an earlier message.");
  }
  if (status === 429) return new ServerError("busy", "The server answers others at the moment.", `Try again ${later}.`);
  if (status > 501) {
    return new ServerError("busy", `The server is not ready: ${message}`, `It may be loading its model, or stopping. Try again ${later}.`);
  }
  return new ServerError("other", message, status === 500 ? "What the server printed says more." : "");
}

// The ids of the models, with the context of each in tokens (0: not told).
export async function models() {
  const body = await (await ask("v1/models")).json();
  return (body.data || []).map((one) => ({ id: String(one.id), context: Number(one.context_length) || 0 }));
}

// The power mode that the server is in, or "".
export async function powerMode() {
  const text = await (await ask("metrics")).text();
  return /^rbe_power_mode\{mode="(\w+)"\} 1$/m.exec(text)?.[1] || "";
}

// Yields {text, thought}, then {finish, usage}. signal: ends it. Raises ServerError.
export async function* answer(request, signal) {
  const body = { ...request, stream: true, stream_options: { include_usage: true } };
  const response = await ask("v1/chat/completions", {
    method: "POST",
    headers: { "Content-Type": "application/json" },
    body: JSON.stringify(body),
    signal,
  });
  let finish = null;
  let usage = null;
  for await (const data of events(response.body.getReader())) {
    if (data === "[DONE]") {
      yield { finish, usage };
      return;
    }
    const chunk = JSON.parse(data);
    if (chunk.error) throw understood(500, chunk.error, null);
    const choice = chunk.choices?.[0];
    const { content, reasoning_content: thought } = choice?.delta || {};
    if (content || thought) yield { text: content || "", thought: thought || "" };
    finish = choice?.finish_reason || finish;
    usage = chunk.usage || usage;
  }
  throw cut();
}

function cut() {
  return new ServerError("cut", "The connection broke off before the answer was complete.", "What came of it is above. Try again for a whole one.");
}

// The data of server-sent events.
async function* events(reader) {
  const decoder = new TextDecoder();
  let held = "";
  try {
    for (;;) {
      const { value, done } = await next(reader);
      if (done) return;
      held += decoder.decode(value, { stream: true });
      const lines = held.split("\n");
      held = lines.pop();
      for (const line of lines) if (line.startsWith("data:")) yield line.slice(5).trim();
    }
  } finally {
    reader.cancel().catch(() => {});
  }
}

async function next(reader) {
  try {
    return await reader.read();
  } catch (error) {
    throw error.name === "AbortError" ? error : cut();
  }
}
