// The chat page: sends what is asked, shows answers as they come, keeps conversations.

import { answer, models, powerMode, ServerError } from "./connection.js";
import { askForKey, showSettings, watchSettings } from "./dialogs.js";
import { byId, element, icon, notice, onClick, tell, wordButton } from "./elements.js";
import { figures, message, problem, Waiting } from "./messages.js";
import { Sidebar } from "./sidebar.js";
import * as store from "./store.js";

const TRIES = ["Explain what a battery is.", "Write a short poem about rain.", "What can I cook with eggs?"];
const KEEP_MS = 2000; // between two writes of an answer that grows
const NEAR_END = 80; // px: who is so near to the end sees what comes

let chat = store.newConversation();
let known = []; // the models
let running = null; // the AbortController of the answer that is being made
const field = byId("message");
const thread = byId("thread");
const actions = { edit, again, pick, more };

const sidebar = new Sidebar({ open, create, current: () => chat, modelName });

// ---- the model ----

function modelName() {
  const wanted = store.settings().model;
  return known.some((one) => one.id === wanted) ? wanted : known[0]?.id || "the model";
}

async function connect() {
  try {
    known = await withKey(models);
  } catch (error) {
    fail(error, [["Try again", connect]]);
    return false;
  }
  const choice = byId("models");
  choice.replaceChildren(...known.map((one) => element("option", { value: one.id }, one.id)));
  choice.value = modelName();
  choice.hidden = known.length < 2;
  byId("model-name").classList.toggle("unseen", known.length > 1);
  byId("model-name").textContent = modelName();
  document.title = `${modelName()} · rbe`;
  clearProblem();
  if (!chat.nodes.length) draw();
  powerMode().then((mode) => showState(mode ? { power: { mode } } : {}), () => {});
  return true;
}

// Asks for the key where the server wants one, until it is right or the person gives up.
async function withKey(work) {
  for (;;) {
    try {
      return await work();
    } catch (error) {
      if (!(error instanceof ServerError) || error.kind !== "key") throw error;
      const given = await askForKey(Boolean(store.key()));
      if (given === null) throw new ServerError("key", "The server needs its API key.", "Whoever started it knows the key.");
      store.keepKey(given.trim());
    }
  }
}

// The mode and speed of the last answer.
function showState(node) {
  const mode = node.power?.mode && `power: ${node.power.mode}`;
  byId("state").textContent = figures({ speed: node.speed, power: { mode } });
}

// ---- conversations ----

function open(other) {
  running?.abort();
  setRunning(null);
  chat = other;
  draw();
  sidebar.show();
  toEnd();
}

function create() {
  open(store.newConversation());
  if (matchMedia("(hover: hover)").matches) field.focus();
}

function save() {
  if (!store.keep(chat) && !save.warned) {
    save.warned = true;
    notice("The browser's storage is full or closed: export conversations, and delete some.");
  }
  sidebar.show();
}

// ---- drawing ----

function draw() {
  const path = store.shown(chat);
  show(path);
  const last = chat.nodes[path.at(-1)];
  if (last?.role === "user" && !running) {
    fail(new ServerError("cut", "This question has no answer yet."), [["Answer it", () => reply(path.at(-1))]]);
  }
  lookAtEnd();
}

function show(path) {
  const drawn = path.map((index) => message(chat.nodes[index], index, about(index), actions));
  byId("messages").replaceChildren(...(drawn.length ? drawn : [welcome()]));
  byId("messages").classList.toggle("empty", !drawn.length);
}

function about(index) {
  const all = store.versions(chat, chat.nodes[index].parent);
  const last = store.shown(chat).at(-1) === index;
  return { versions: all.length, at: all.indexOf(index), last, busy: false, modelName: modelName() };
}

function welcome() {
  const context = known.find((one) => one.id === modelName())?.context;
  const tries = TRIES.map((text) => wordButton(text, () => send(text)));
  const line = context ? `It remembers ${context.toLocaleString("en")} tokens.` : "";
  return element(
    "div",
    { class: "welcome" },
    element("p", { class: "large" }, known.length ? `Talk with ${modelName()}` : "One moment …"),
    element("p", { class: "soft" }, line),
    element("div", { class: "tries" }, ...(known.length ? tries : []))
  );
}

function fail(error, buttons) {
  clearProblem();
  const shown = error instanceof ServerError ? error : new ServerError("other", `This page failed: ${error.message}`);
  const isNear = nearEnd();
  byId("messages").querySelector(".waiting")?.remove();
  byId("messages").append(problem(shown, buttons));
  if (isNear) toEnd();
}

function clearProblem() {
  byId("messages").querySelector(".problem")?.remove();
}

function nearEnd() {
  return thread.scrollHeight - thread.scrollTop - thread.clientHeight < NEAR_END;
}

function toEnd() {
  thread.scrollTop = thread.scrollHeight;
}

function lookAtEnd() {
  byId("jump").hidden = nearEnd();
}

// ---- asking ----

async function send(text) {
  if (running || !text.trim()) return;
  const path = store.shown(chat);
  let asked = path.at(-1) ?? -1;
  if (chat.nodes[asked]?.role === "user") chat.nodes[asked].text += `\n\n${text.trim()}`; // it had no answer
  else asked = store.add(chat, asked, "user", text.trim());
  field.value = "";
  fit();
  await reply(asked);
}

function edit(index, text) {
  if (running) return;
  reply(store.add(chat, chat.nodes[index].parent, "user", text));
}

function again(index) {
  if (!running) reply(chat.nodes[index].parent);
}

// Goes on with an answer that was cut or stopped.
function more(index) {
  if (!running) reply(chat.nodes[index].parent, index);
}

function pick(index, step) {
  if (running) return;
  const { parent } = chat.nodes[index];
  const all = store.versions(chat, parent);
  chat.picks[parent] = all[all.indexOf(index) + step];
  save();
  const top = thread.scrollTop;
  draw();
  thread.scrollTop = top;
}

// last: the message that ends it, a question, or an answer that goes on.
function requestFor(chat, last) {
  const { temperature, maxTokens, system } = store.settings();
  const messages = system.trim() ? [{ role: "system", content: system }] : [];
  for (const index of store.shown(chat)) {
    const { role, text } = chat.nodes[index];
    if (text) messages.push({ role, content: text });
    if (index === last) break;
  }
  const continue_final_message = chat.nodes[last].role === "assistant";
  return { model: modelName(), messages, temperature, max_tokens: maxTokens, continue_final_message };
}

// Answers the question at an index of the conversation, which may have other answers already; or goes on with one of them.
async function reply(asked, begun) {
  if (running) return;
  const mine = chat;
  if (begun === undefined) delete mine.picks[asked];
  const controller = new AbortController();
  setRunning(controller);
  const path = store.shown(mine);
  show(path.slice(0, path.indexOf(asked) + 1));
  let live = begun === undefined ? null : new Live(mine, asked, begun);
  const waiting = new Waiting(byId("messages"));
  toEnd();
  save();
  let failure = null;
  try {
    if (!known.length && !(await connect())) return;
    await withKey(async () => {
      for await (const part of answer(requestFor(mine, begun ?? asked), controller.signal)) {
        waiting.end();
        live ||= new Live(mine, asked);
        live.take(part);
      }
    });
  } catch (error) {
    if (error.name === "AbortError") {
      if (mine === chat) live ||= new Live(mine, asked);
      if (live) live.node.stopped = true;
    } else failure = error;
  } finally {
    waiting.end();
    if (running === controller) setRunning(null);
    live?.end();
    if (failure && mine === chat) offer(failure, () => reply(asked, begun));
  }
}

// What can be done about an error.
function offer(error, again) {
  const buttons = [["Try again", again]];
  if (error.kind === "long") buttons.push(["New conversation", create]);
  if (error.kind === "long" || error.kind === "other") buttons.push(["Settings", showSettings]);
  fail(error, buttons);
}

function setRunning(controller) {
  running = controller;
  const send = byId("send");
  send.replaceChildren(icon(controller ? "stop" : "send"));
  send.setAttribute("aria-label", controller ? "Stop" : "Send");
  send.title = controller ? "Stop (Esc)" : "Send";
  document.body.classList.toggle("running", Boolean(controller));
}

// An answer that is being made. begun: the index of one that goes on.
class Live {
  constructor(conversation, asked, begun) {
    this.chat = conversation;
    this.index = begun ?? store.add(conversation, asked, "assistant", "");
    this.node = conversation.nodes[this.index];
    this.node.model = modelName();
    this.before = this.node.tokens || 0;
    this.kept = Date.now();
    this.article = message(this.node, this.index, { ...about(this.index), busy: true }, actions);
    this.article.setAttribute("aria-busy", "true");
    byId("messages").append(this.article);
  }

  take(part) {
    Object.assign(this.node, { finish: part.finish, stopped: false });
    if ("text" in part) {
      this.last = performance.now();
      this.first ||= this.last;
      this.node.text += part.text;
      if (part.thought) this.node.thought = (this.node.thought || "") + part.thought;
      this.frame ||= requestAnimationFrame(() => this.draw());
      if (Date.now() - this.kept > KEEP_MS) {
        this.kept = Date.now();
        store.keep(this.chat);
      }
    } else {
      const tokens = part.usage?.completion_tokens || 0;
      const seconds = (this.last - this.first) / 1000;
      Object.assign(this.node, { tokens: this.before + tokens, power: part.usage?.power });
      if (tokens > 1 && seconds > 0.05) this.node.speed = (tokens - 1) / seconds;
      showState(this.node);
    }
  }

  draw() {
    this.frame = 0;
    const follows = nearEnd();
    this.article.show();
    if (follows) toEnd();
    lookAtEnd();
  }

  end() {
    if (this.ended) return;
    this.ended = true;
    cancelAnimationFrame(this.frame);
    store.keep(this.chat);
    if (this.chat !== chat) return;
    const follows = nearEnd();
    this.article.finish(about(this.index));
    if (follows) toEnd();
    tell(this.node.text.length < 1000 ? `Answer: ${this.node.text}` : "The answer is complete");
    save();
  }
}

// ---- what a person does ----

function fit() {
  field.style.height = "auto";
  field.style.height = `${field.scrollHeight}px`;
}

function onKey(event) {
  if (event.key === "Escape" && running && !document.querySelector("dialog[open]")) running.abort();
  else if (event.altKey && event.code === "KeyN") create();
  else return;
  event.preventDefault();
}

function onFieldKey(event) {
  const types = matchMedia("(pointer: coarse)").matches; // Enter on a phone is for lines
  if (event.key === "Enter" && !event.shiftKey && !event.isComposing && !types) {
    event.preventDefault();
    if (!running) send(field.value);
  } else if (event.key === "ArrowUp" && !field.value) {
    const edit = [...byId("messages").querySelectorAll("button[aria-label=Edit]")].at(-1);
    if (!edit) return;
    event.preventDefault();
    edit.click();
  }
}

function start() {
  const given = /^#key=(.+)$/.exec(location.hash);
  if (given) {
    try {
      store.keepKey(decodeURIComponent(given[1]));
    } catch {
      // No key is written like this: it is asked for.
    }
    history.replaceState(null, "", location.pathname); // so that it is in no bookmark and no picture of the screen
  }
  watchSettings();
  for (const one of document.querySelectorAll("[data-icon]")) {
    one.prepend(icon(one.dataset.icon));
    one.title = one.ariaLabel || "";
  }
  onClick(byId("open-settings"), showSettings);
  byId("models").addEventListener("change", (event) => {
    store.keepSettings({ model: event.target.value });
    connect();
  });
  byId("composer").addEventListener("submit", (event) => {
    event.preventDefault();
    if (running) running.abort();
    else send(field.value);
  });
  field.addEventListener("input", fit);
  field.addEventListener("keydown", onFieldKey);
  document.addEventListener("keydown", onKey);
  thread.addEventListener("scroll", lookAtEnd, { passive: true });
  onClick(byId("jump"), toEnd);
  addEventListener("resize", lookAtEnd);
  addEventListener("storage", (event) => {
    if (!store.isConversation(event.key)) return;
    const changed = store.conversation(chat.id); // by another tab
    if (changed && !running && event.key?.endsWith(chat.id)) {
      chat = changed;
      draw();
    }
    sidebar.show();
  });
  draw();
  sidebar.show();
  connect();
}

start();
